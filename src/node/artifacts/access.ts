/**
 * What a download needs beside the URL: credentials, and certificates that are trusted in addition. In a Pod both
 * are volumes of kubelet's; they are read when a download begins and held in memory alone.
 *
 * A secret never leaves this file but as the header of a request, over https, to a host that it is meant for.
 */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { getCACertificates } from 'node:tls';
import { MOUNTED_CONFIG_MAPS, MOUNTED_SECRETS } from '../../crds/names.ts';
import { KataError, causeOf } from '../../errors.ts';
import { errnoOf } from '../host/ioError.ts';

export interface AccessPaths {
  /** Directory with the files `username` and `password`, or `token`, and `host` if need be: the keys of a Secret. */
  readonly credentials?: string;
  /** File of certificates in PEM form. */
  readonly ca?: string;
}

export interface Access {
  readonly credentials?: Credentials;
  /** In PEM form: all that is trusted. */
  readonly ca?: readonly string[];
}

/**
 * `urls` are the archives' own URLs, without their mirrors: where no `host` is given, the credentials are for the one
 * host that all of them have. Throws KATA_E_ARTIFACT_ACCESS.
 */
export async function readAccess(
  { credentials, ca }: AccessPaths,
  urls: readonly string[],
): Promise<Access> {
  return {
    ...(credentials === undefined ? {} : { credentials: await readCredentials(credentials, urls) }),
    ...(ca === undefined ? {} : { ca: await readCertificates(ca) }),
  };
}

export class Credentials {
  /** `host` or `host:port`, as a URL has it. */
  readonly hosts: readonly string[];
  // Private in the language, too: neither JSON nor an inspection shows it.
  readonly #header: string;

  constructor(hosts: readonly string[], header: string) {
    this.hosts = hosts;
    this.#header = header;
  }

  isFor(target: URL): boolean {
    return target.protocol === 'https:' && this.hosts.includes(target.host);
  }

  /** Value of `Authorization`. To be called only for what it is for. */
  header(): string {
    return this.#header;
  }
}

async function readCredentials(directory: string, urls: readonly string[]): Promise<Credentials> {
  const keys = new Keys(directory);
  const token = await keys.readLine('token');
  const username = await keys.readLine('username');
  const password = await keys.readLine('password');
  if (token !== undefined && username === undefined)
    return new Credentials(await hostsOf(keys, urls), `Bearer ${token}`);
  if (username === undefined && password === undefined)
    throw keys.problem('it is missing, or has neither username and password nor token');
  if (token !== undefined) throw keys.problem('it has both a username and a token');
  if (username === undefined) throw keys.problem('it has no key username');
  if (password === undefined) throw keys.problem('it has no key password');
  if (username.includes(':')) throw keys.problem('its username holds a colon');
  const pair = Buffer.from(`${username}:${password}`).toString('base64');
  return new Credentials(await hostsOf(keys, urls), `Basic ${pair}`);
}

async function hostsOf(keys: Keys, urls: readonly string[]): Promise<readonly string[]> {
  const given = await keys.read('host');
  if (given !== undefined) {
    const hosts = given.split(/[\s,]+/).filter((host) => host !== '');
    if (hosts.length === 0) throw keys.problem('its host is empty');
    return hosts.map((host) => host.toLowerCase().replace(/:443$/, ''));
  }
  const hosts = [...new Set(urls.flatMap((url) => URL.parse(url)?.host ?? []))];
  if (hosts.length > 1)
    throw keys.problem(`it has no key host, and must say for which of ${hosts.join(', ')} it is`);
  return hosts;
}

async function readCertificates(file: string): Promise<readonly string[]> {
  const keys = new Keys(dirname(file));
  const key = basename(file);
  const text = await keys.read(key);
  if (text === undefined) throw keys.problem(`it is missing, or has no key ${key}`);
  const own = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (own.length === 0) throw keys.problem(`its ${key} holds no certificate in PEM form`);
  for (const pem of own) {
    try {
      new X509Certificate(pem);
    } catch (error) {
      throw keys.problem(`its ${key} holds a damaged certificate: ${causeOf(error)}`);
    }
  }
  return [...getCACertificates('default'), ...own];
}

/** The files of a directory, as the keys of the object that kubelet mounts there. */
class Keys {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Without the line end that an editor leaves. Undefined when there is no such key, or no such object. */
  async read(key: string): Promise<string | undefined> {
    let text: string;
    try {
      text = (await readFile(join(this.#directory, key), 'utf8')).replace(/\r?\n$/, '');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
      throw this.problem(`its ${key} cannot be read: ${errnoOf(error) ?? causeOf(error)}`);
    }
    if (text === '') throw this.problem(`its ${key} is empty`);
    return text;
  }

  /** A header ends at a line end: what follows would be a header of its own. */
  async readLine(key: string): Promise<string | undefined> {
    const text = await this.read(key);
    if (text !== undefined && /[\x00-\x1f\x7f]/.test(text))
      throw this.problem(`its ${key} holds a control character`);
    return text;
  }

  /** The content is never in it. */
  problem(cause: string): KataError {
    return new KataError('KATA_E_ARTIFACT_ACCESS', { object: objectAt(this.#directory), cause });
  }
}

function objectAt(directory: string): string {
  const name = basename(directory);
  if (dirname(directory) === MOUNTED_SECRETS) return `Secret ${name}`;
  return dirname(directory) === MOUNTED_CONFIG_MAPS ? `ConfigMap ${name}` : directory;
}
