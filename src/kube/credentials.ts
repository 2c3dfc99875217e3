/**
 * Who we are and whom we trust, read again and again: tokens and CA files rotate under a running Pod.
 * Owns the reading of KubeConfig. It must never log or throw what it read.
 */
import { createHash } from 'node:crypto';
import type { RequestOptions } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import type { Clock } from './clock.ts';

/** What a TLS connection is made with. */
export type TlsMaterial = Pick<
  RequestOptions,
  'ca' | 'cert' | 'key' | 'pfx' | 'passphrase' | 'servername' | 'rejectUnauthorized'
>;

export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsMaterial;
  /** Changes when a connection made with older TLS material must not be used any more. */
  readonly fingerprint: string;
}

/** The token is a bound one, valid for an hour and replaced at 80 %: ten seconds is early enough. */
const DEFAULT_REFRESH_MS = 10_000;

export class CredentialSource {
  #config: KubeConfig;
  readonly #clock: Clock;
  readonly #refreshMs: number;
  #current: Credentials | undefined;
  #readAtMs = 0;
  #reading: Promise<Credentials> | undefined;

  constructor(config: KubeConfig, clock: Clock, refreshMs = DEFAULT_REFRESH_MS) {
    this.#config = config;
    this.#clock = clock;
    this.#refreshMs = refreshMs;
  }

  /** At most refreshMs old. Throws when they cannot be read and never could. */
  async read(): Promise<Credentials> {
    const known = this.#current;
    if (known !== undefined && this.#clock.monotonicMs() - this.#readAtMs < this.#refreshMs) {
      return known;
    }
    this.#reading ??= this.#load(known).finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /** After a 401 or a failed handshake: the next read goes to the files and plugins themselves. */
  invalidate(): void {
    this.#current = undefined;
    // The authenticators inside KubeConfig keep a token for a minute or until it expires by its own
    // word; a KubeConfig of its own starts with none.
    const { clusters, users, contexts, currentContext } = this.#config;
    const fresh = new KubeConfig();
    fresh.loadFromOptions({ clusters, users, contexts, currentContext });
    this.#config = fresh;
  }

  async #load(previous: Credentials | undefined): Promise<Credentials> {
    const options: RequestOptions = {};
    try {
      await this.#config.applyToHTTPSOptions(options);
    } catch (thrown) {
      // Caught in the middle of a rotation: what we have is good for a little longer.
      if (previous === undefined) throw thrown;
      this.#readAtMs = this.#clock.monotonicMs();
      return previous;
    }
    const tls = tlsOf(options);
    this.#current = { headers: headersOf(options), tls, fingerprint: fingerprintOf(tls) };
    this.#readAtMs = this.#clock.monotonicMs();
    return this.#current;
  }
}

function headersOf(options: RequestOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    // A token file may end in a newline, which no header may hold.
    if (value !== undefined) headers[name] = String(value).trim();
  }
  if (typeof options.auth === 'string') {
    headers['Authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  }
  return headers;
}

function tlsOf(options: RequestOptions): TlsMaterial {
  const tls: TlsMaterial = {};
  if (options.ca !== undefined) tls.ca = options.ca;
  if (options.cert !== undefined) tls.cert = options.cert;
  if (options.key !== undefined) tls.key = options.key;
  if (options.pfx !== undefined) tls.pfx = options.pfx;
  if (options.passphrase !== undefined) tls.passphrase = options.passphrase;
  if (options.servername !== undefined) tls.servername = options.servername;
  if (options.rejectUnauthorized !== undefined) {
    tls.rejectUnauthorized = options.rejectUnauthorized;
  }
  return tls;
}

function fingerprintOf(tls: TlsMaterial): string {
  const hash = createHash('sha256');
  for (const part of [tls.ca, tls.cert, tls.key, tls.servername, tls.rejectUnauthorized]) {
    hash.update(Buffer.isBuffer(part) ? part : JSON.stringify(part ?? null)).update('\0');
  }
  return hash.digest('hex');
}
