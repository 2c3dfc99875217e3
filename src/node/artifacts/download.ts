/**
 * Fetching an archive by HTTP into a file, with its sha256 known when it ends.
 *
 * Owns deadlines, retries, resuming, mirrors and bounds: a server that is slow, silent, endless or wrong
 * costs a bounded time and a bounded amount of disk. It never shows a URL's credentials or query.
 */
import { createHash, type Hash } from 'node:crypto';
import { open, rm, type FileHandle } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { KataError, causeOf } from '../../errors.ts';
import { ioError } from '../host/ioError.ts';
import { Retryable, get, type Proxy } from './transport.ts';

export interface DownloadLimits {
  readonly maxBytes: number;
  readonly maxRedirects: number;
  /** Longest wait for the answer or for the next bytes. */
  readonly idleMs: number;
  /** Tries of each URL in all; a wrong digest or an answer like 404 is not tried again. */
  readonly attempts: number;
  /** Longest wait before the second try; it doubles with each, and what is waited is anything up to it. */
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
}
export const DOWNLOAD_LIMITS: DownloadLimits = {
  maxBytes: 8 * 1024 ** 3,
  maxRedirects: 5,
  idleMs: 30_000,
  attempts: 5,
  backoffMs: 2000,
  maxBackoffMs: 60_000,
};

export interface DownloadOptions {
  /** Tried in this order: the archive's own and its mirrors. */
  readonly urls: readonly string[];
  readonly sha256: string;
  /** As this process finds it. */
  readonly file: string;
  /** For messages. */
  readonly hostFile: string;
  readonly proxy?: Proxy | undefined;
  /** Asked before the first byte is written, when the server says how many there are. Throws KATA_E_DISK_SPACE. */
  readonly requireRoom?: (bytes: number) => Promise<void>;
}

/** Without user, password and query: those may be secrets. */
export function displayUrl(url: string): string {
  const parsed = URL.parse(url);
  return parsed === null
    ? url.replace(/[?#].*$/, '').replace(/\/\/[^/@]*@/, '//')
    : `${parsed.protocol}//${parsed.host}${parsed.pathname}`;
}

/** Writes `file` anew and flushes it. Throws KATA_E_ARTIFACT_FETCH, KATA_E_ARTIFACT_DIGEST, KATA_E_DISK_SPACE, KATA_E_IO. */
export async function download(
  options: DownloadOptions,
  signal: AbortSignal,
  limits: DownloadLimits = DOWNLOAD_LIMITS,
): Promise<void> {
  let failure: unknown;
  for (const url of options.urls) {
    try {
      await downloadFrom(url, options, signal, limits);
      return;
    } catch (error) {
      await rm(options.file, { force: true });
      if (signal.aborted) throw signal.reason;
      failure = error;
      // Another server may have what this one has not; another disk there is none.
      if (error instanceof KataError && error.code !== 'KATA_E_ARTIFACT_DIGEST') break;
      failure = asFetchError(error, url);
    }
  }
  throw failure;
}

function asFetchError(error: unknown, url: string): KataError {
  if (error instanceof KataError) return error;
  return new KataError(
    'KATA_E_ARTIFACT_FETCH',
    { url: displayUrl(url), cause: causeOf(error) },
    { cause: error },
  );
}

/** One URL, as often as it is worth it; what was received is kept from one try to the next. */
async function downloadFrom(
  url: string,
  { sha256, file, hostFile, proxy, requireRoom }: DownloadOptions,
  signal: AbortSignal,
  limits: DownloadLimits,
): Promise<void> {
  const output = await open(file, 'w', 0o600).catch((error: unknown) => {
    throw ioError(hostFile, error);
  });
  try {
    const received = new Received(output, hostFile, limits.maxBytes, requireRoom);
    for (let attempt = 1; ; attempt += 1) {
      try {
        await fetchRest(url, received, proxy, signal, limits);
        break;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Retryable) || attempt >= limits.attempts) throw error;
        await sleep(backoff(attempt, error.retryAfterMs, limits), undefined, { signal });
      }
    }
    const found = await received.end();
    if (found !== sha256)
      throw new KataError('KATA_E_ARTIFACT_DIGEST', {
        url: displayUrl(url),
        wanted: sha256,
        found,
      });
  } finally {
    await output.close();
  }
}

/** Full jitter: whatever made thousands of nodes fail at once, they do not come back at once. */
function backoff(
  attempt: number,
  retryAfterMs: number | undefined,
  { backoffMs, maxBackoffMs }: DownloadLimits,
): number {
  const spreadMs = Math.random() * Math.min(maxBackoffMs, backoffMs * 2 ** (attempt - 1));
  return Math.min(maxBackoffMs, retryAfterMs ?? 0) + spreadMs;
}

async function fetchRest(
  url: string,
  received: Received,
  proxy: Proxy | undefined,
  signal: AbortSignal,
  { idleMs, maxRedirects }: DownloadLimits,
): Promise<void> {
  const idle = new IdleTimer(idleMs);
  try {
    const response = await get(url, {
      headers: received.rangeHeaders(),
      maxRedirects,
      proxy,
      signal: AbortSignal.any([signal, idle.signal]),
    });
    await received.begin(response);
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        idle.restart();
        await received.add(chunk);
      }
    } catch (error) {
      if (error instanceof KataError || error instanceof TooLarge) throw error;
      throw new Retryable(`the connection broke: ${causeOf(error)}`, { cause: error });
    } finally {
      response.destroy();
    }
  } catch (error) {
    // What is thrown then is only its consequence.
    if (idle.signal.aborted) throw new Retryable(causeOf(idle.signal.reason), { cause: error });
    throw error;
  } finally {
    idle.stop();
  }
}

class TooLarge extends Error {}

/** What came so far: in the file, and in the hash. */
class Received {
  readonly #output: FileHandle;
  readonly #hostFile: string;
  readonly #maxBytes: number;
  readonly #requireRoom: DownloadOptions['requireRoom'];
  #hash: Hash = createHash('sha256');
  #sizeBytes = 0;
  /** Names the content that the server had; the rest is asked for only of the same. */
  #validator: string | undefined;

  constructor(
    output: FileHandle,
    hostFile: string,
    maxBytes: number,
    requireRoom: DownloadOptions['requireRoom'],
  ) {
    this.#output = output;
    this.#hostFile = hostFile;
    this.#maxBytes = maxBytes;
    this.#requireRoom = requireRoom;
  }

  rangeHeaders(): Record<string, string> {
    return this.#sizeBytes === 0 || this.#validator === undefined
      ? {}
      : { range: `bytes=${this.#sizeBytes}-`, 'if-range': this.#validator };
  }

  async begin({ statusCode, headers }: IncomingMessage): Promise<void> {
    const continues =
      statusCode === 206 &&
      headers['content-range']?.startsWith(`bytes ${this.#sizeBytes}-`) === true;
    if (statusCode === 206 && !continues)
      throw new Error('the server sent another part than it was asked for');
    if (!continues) await this.#restart();
    const { etag } = headers;
    // A weak one names things that only look alike.
    this.#validator = etag?.startsWith('"') === true ? etag : headers['last-modified'];
    const lengthBytes = Number(headers['content-length'] ?? 0);
    if (this.#sizeBytes + lengthBytes > this.#maxBytes) throw this.#tooLarge();
    await this.#requireRoom?.(lengthBytes);
  }

  async add(chunk: Uint8Array): Promise<void> {
    if (this.#sizeBytes + chunk.length > this.#maxBytes) throw this.#tooLarge();
    for (let offset = 0; offset < chunk.length;) {
      const position = this.#sizeBytes + offset;
      const length = chunk.length - offset;
      const { bytesWritten } = await this.#disk(
        this.#output.write(chunk, offset, length, position),
      );
      offset += bytesWritten;
    }
    this.#hash.update(chunk);
    this.#sizeBytes += chunk.length;
  }

  /** Returns the sha256 of what was received, which is on disk then. */
  async end(): Promise<string> {
    await this.#disk(this.#output.sync());
    return this.#hash.digest('hex');
  }

  async #restart(): Promise<void> {
    await this.#disk(this.#output.truncate(0));
    this.#hash = createHash('sha256');
    this.#sizeBytes = 0;
  }

  #tooLarge(): TooLarge {
    return new TooLarge(`it is larger than ${this.#maxBytes} bytes`);
  }

  async #disk<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw ioError(this.#hostFile, error);
    }
  }
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
