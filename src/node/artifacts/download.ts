/**
 * Fetching an archive by HTTP into a file, with its sha256 known when it ends.
 *
 * Owns deadlines, redirects and bounds: a server that is slow, silent, endless or wrong costs a bounded
 * time and a bounded amount of disk. It never shows a URL's credentials or query.
 */
import { createHash } from 'node:crypto';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { KataError, causeOf } from '../../errors.ts';
import { ioError } from '../host/ioError.ts';

export interface DownloadLimits {
  readonly maxBytes: number;
  readonly maxRedirects: number;
  /** Longest wait for the answer or for the next bytes. */
  readonly idleMs: number;
  /** Tries in all; a wrong digest or an answer like 404 is not tried again. */
  readonly attempts: number;
  readonly backoffMs: number;
}
export const DOWNLOAD_LIMITS: DownloadLimits = {
  maxBytes: 8 * 1024 ** 3,
  maxRedirects: 5,
  idleMs: 30_000,
  attempts: 3,
  backoffMs: 1000,
};

/** Without user, password and query: those may be secrets. */
export function displayUrl(url: string): string {
  const parsed = URL.parse(url);
  return parsed === null
    ? url.replace(/\?.*$/, '')
    : `${parsed.protocol}//${parsed.host}${parsed.pathname}`;
}

class Retryable extends Error {}

/** Writes `file` anew and flushes it. Throws KATA_E_ARTIFACT_FETCH, KATA_E_ARTIFACT_DIGEST, KATA_E_IO. */
export async function download(
  { url, sha256, file, hostFile }: { url: string; sha256: string; file: string; hostFile: string },
  signal: AbortSignal,
  limits: DownloadLimits = DOWNLOAD_LIMITS,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const found = await fetchOnce(url, file, hostFile, signal, limits);
      if (found === sha256) return;
      throw new KataError('KATA_E_ARTIFACT_DIGEST', {
        url: displayUrl(url),
        wanted: sha256,
        found,
      });
    } catch (error) {
      await rm(file, { force: true });
      if (signal.aborted) throw signal.reason;
      if (error instanceof KataError) throw error;
      if (!(error instanceof Retryable) || attempt >= limits.attempts) {
        throw new KataError(
          'KATA_E_ARTIFACT_FETCH',
          { url: displayUrl(url), cause: causeOf(error) },
          { cause: error },
        );
      }
      await sleep(limits.backoffMs * attempt, undefined, { signal });
    }
  }
}

async function fetchOnce(
  url: string,
  file: string,
  hostFile: string,
  signal: AbortSignal,
  limits: DownloadLimits,
): Promise<string> {
  const idle = new IdleTimer(limits.idleMs);
  try {
    const response = await request(
      url,
      AbortSignal.any([signal, idle.signal]),
      limits.maxRedirects,
    );
    const output = await open(file, 'w', 0o600).catch((error: unknown) => {
      throw ioError(hostFile, error);
    });
    try {
      return await save(response, output, hostFile, idle, limits.maxBytes);
    } finally {
      await output.close();
    }
  } finally {
    idle.stop();
  }
}

/** Returns the sha256 of what was received, which is on disk then. */
async function save(
  response: Response,
  output: FileHandle,
  hostFile: string,
  idle: IdleTimer,
  maxBytes: number,
): Promise<string> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of received(response)) {
    idle.restart();
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
    hash.update(chunk);
    await output.writeFile(chunk).catch((error: unknown) => {
      throw ioError(hostFile, error);
    });
  }
  await output.sync();
  return hash.digest('hex');
}

async function* received(response: Response): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  try {
    yield* response.body;
  } catch (error) {
    throw new Retryable(`the connection broke: ${causeOf(error)}`, { cause: error });
  }
}

/** Follows redirects itself, so that only http and https are ever followed, a bounded number of times. */
async function request(url: string, signal: AbortSignal, redirects: number): Promise<Response> {
  const target = URL.parse(url);
  if (target === null || !['http:', 'https:'].includes(target.protocol))
    throw new Error('it is not an http or https URL');
  const { address, headers } = withoutCredentials(target);
  const response = await fetch(address, { redirect: 'manual', signal, headers }).catch(
    (error: unknown) => {
      throw new Retryable(causeOf(error), { cause: error });
    },
  );
  if (response.status === 200) return response;
  await response.body?.cancel();
  const location = response.headers.get('location');
  if (response.status >= 300 && response.status < 400 && location !== null) {
    if (redirects === 0) throw new Error('it redirects too often');
    return request(new URL(location, target).href, signal, redirects - 1);
  }
  const status = `HTTP status ${response.status}`;
  throw response.status >= 500 || response.status === 429
    ? new Retryable(status)
    : new Error(status);
}

/** `fetch` takes no user and password in a URL, and shows them in its errors. */
function withoutCredentials(target: URL): { address: URL; headers: Record<string, string> } {
  const address = new URL(target);
  address.username = '';
  address.password = '';
  if (target.username === '' && target.password === '') return { address, headers: {} };
  const pair = `${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`;
  return { address, headers: { authorization: `Basic ${Buffer.from(pair).toString('base64')}` } };
}

/** Aborts its signal when nothing restarts it for so long. */
class IdleTimer {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(milliseconds: number) {
    this.#timer = setTimeout(() => {
      this.#controller.abort(new Error(`nothing came for ${milliseconds / 1000} s`));
    }, milliseconds);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  restart(): void {
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
