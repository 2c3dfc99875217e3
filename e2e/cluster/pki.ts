/**
 * The certificates of one cluster, made by openssl, kept in the cluster's directory.
 *
 * Owns the certificate authority and who is who. It must never replace what still fits: running components
 * hold it.
 */
import { access, chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './process.ts';

export interface Identity {
  /** File name without extension. */
  readonly file: string;
  readonly commonName: string;
  readonly organization?: string;
  /** openssl's form: `DNS:name`, `IP:address`. Makes it a server certificate as well. */
  readonly names?: readonly string[];
}

const VALID_DAYS = '3650';

export class Pki {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Opens a cluster's certificates; makes the authority and the ServiceAccount keys when new. */
  static async open(directory: string): Promise<Pki> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const pki = new Pki(directory);
    await pki.#makeAuthority();
    await pki.#makeServiceAccountKeys();
    return pki;
  }

  read(file: string): Promise<string> {
    return readFile(this.#path(file), 'utf8');
  }

  /** Issues `<file>.crt` and `<file>.key`, unless they are there for the same identity. */
  async issue(identity: Identity): Promise<void> {
    const certificate = this.#path(`${identity.file}.crt`);
    const record = this.#path(`${identity.file}.json`);
    const wanted = JSON.stringify(identity);
    if ((await readFile(record, 'utf8').catch(() => '')) === wanted) return;
    await this.#makeKey(`${identity.file}.key`);
    const extensions = this.#path(`${identity.file}.ext`);
    await writeFile(extensions, extensionText(identity));
    const organization = identity.organization === undefined ? '' : `/O=${identity.organization}`;
    const request = this.#path(`${identity.file}.csr`);
    const subject = ['-subj', `${organization}/CN=${identity.commonName}`];
    const key = ['-key', this.#path(`${identity.file}.key`)];
    await run(['openssl', 'req', '-new', ...key, ...subject, '-out', request]);
    await run([
      ...['openssl', 'x509', '-req', '-sha256', '-days', VALID_DAYS, '-in', request],
      ...['-CA', this.#path('ca.crt'), '-CAkey', this.#path('ca.key')],
      ...['-set_serial', `0x${crypto.randomUUID().replaceAll('-', '').slice(0, 30)}`],
      ...['-extfile', extensions, '-out', `${certificate}.new`],
    ]);
    await rename(`${certificate}.new`, certificate);
    await writeFile(record, wanted);
  }

  async #makeAuthority(): Promise<void> {
    const certificate = this.#path('ca.crt');
    if (await exists(certificate)) return;
    await this.#makeKey('ca.key');
    await run([
      ...['openssl', 'req', '-x509', '-new', '-sha256', '-days', VALID_DAYS],
      ...['-key', this.#path('ca.key'), '-subj', '/CN=kubernetes-ca'],
      ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign,digitalSignature'],
      ...['-out', `${certificate}.new`],
    ]);
    await rename(`${certificate}.new`, certificate);
  }

  async #makeServiceAccountKeys(): Promise<void> {
    const publicKey = this.#path('sa.pub');
    if (await exists(publicKey)) return;
    await this.#makeKey('sa.key');
    const key = ['-in', this.#path('sa.key')];
    await run(['openssl', 'pkey', ...key, '-pubout', '-out', `${publicKey}.new`]);
    await rename(`${publicKey}.new`, publicKey);
  }

  async #makeKey(file: string): Promise<void> {
    const curve = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    await run(['openssl', 'genpkey', ...curve, '-out', this.#path(file)]);
    await chmod(this.#path(file), 0o600);
  }

  #path(file: string): string {
    return join(this.directory, file);
  }
}

function extensionText(identity: Identity): string {
  const usages = identity.names === undefined ? 'clientAuth' : 'serverAuth,clientAuth';
  const lines = [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    `extendedKeyUsage=${usages}`,
    'authorityKeyIdentifier=keyid',
  ];
  if (identity.names !== undefined) lines.push(`subjectAltName=${identity.names.join(',')}`);
  return `${lines.join('\n')}\n`;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
