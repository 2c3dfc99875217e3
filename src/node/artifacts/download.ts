/**
 * Fetching an archive by HTTP into a file, whose sha256 is the wanted one when it is there under its name.
 *
 * Owns deadlines, retries, resuming, mirrors and bounds: a server that is slow, silent, endless or wrong
 * costs a bounded time and a bounded amount of disk. It never shows a URL's credentials or query.
 */
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { KataError, causeOf } from '../../errors.ts';
import type { Access } from './access.ts';
import { Received, TooLarge, isFile } from './received.ts';
import { sha256OfFile } from './sha256.ts';
import { StallTimer } from './stallTimer.ts';
import { Refused, Retryable, get, type Proxy } from './transport.ts';

export interface DownloadLimits {
  readonly maxBytes: number;
  readonly maxRedirects: number;
  /** Longest wait for the answer, and for each `progressBytes` of it. */
  readonly idleMs: number;
  readonly progressBytes: number;
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
  progressBytes: 64 * 1024,
  attempts: 5,
  backoffMs: 4000,
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
  readonly access?: Access | undefined;
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

/**
 * Makes `file`, flushed to disk, and returns how many bytes were written for it. What came before the network failed
 * stays beside it, for the next call. Throws KATA_E_ARTIFACT_FETCH, KATA_E_ARTIFACT_DIGEST, KATA_E_DISK_SPACE, KATA_E_IO.
 */
export async function download(
  options: DownloadOptions,
  signal: AbortSignal,
  limits: DownloadLimits = DOWNLOAD_LIMITS,
): Promise<number> {
  if (await isThereAlready(options, signal)) return 0;
  let failure: unknown;
  for (const url of options.urls) {
    try {
      return await downloadFrom(url, options, signal, limits);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      failure = error;
      // Another server may have what this one has not; another disk there is none.
      if (error instanceof KataError && error.code !== 'KATA_E_ARTIFACT_DIGEST') break;
      failure = asFetchError(error, url);
    }
  }
  throw failure;
}

/** An earlier process may have ended between its download and what it was for. */
async function isThereAlready(
  { file, sha256 }: DownloadOptions,
  signal: AbortSignal,
): Promise<boolean> {
  if (!(await isFile(file))) return false;
  if ((await sha256OfFile(file, signal)) === sha256) return true;
  await rm(file, { force: true });
  return false;
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
  options: DownloadOptions,
  signal: AbortSignal,
  limits: DownloadLimits,
): Promise<number> {
  const { file, hostFile, requireRoom } = options;
  const { maxBytes } = limits;
  const received = await Received.open({ file, hostFile, url, maxBytes, requireRoom }, signal);
  let keep = false;
  try {
    let found = await receive(url, received, options, signal, limits);
    if (found !== options.sha256 && received.isPieced) {
      // The pieces may not belong together, or the disk may have lost some: the whole at once must be right.
      await received.restart();
      found = await receive(url, received, options, signal, limits);
    }
    if (found !== options.sha256)
      throw new KataError('KATA_E_ARTIFACT_DIGEST', {
        url: displayUrl(url),
        wanted: options.sha256,
        found,
      });
    await received.complete();
    return received.writtenBytes;
  } catch (error) {
    keep = signal.aborted || error instanceof Retryable;
    throw error;
  } finally {
    await received.close(keep);
  }
}

/** Returns the sha256 of all that was received. */
async function receive(
  url: string,
  received: Received,
  options: DownloadOptions,
  signal: AbortSignal,
  limits: DownloadLimits,
): Promise<string> {
  for (let attempt = 1; !received.isWhole; attempt += 1) {
    try {
      await fetchRest(url, received, options, signal, limits);
      break;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Retryable) || attempt >= limits.attempts) throw error;
      const delayMs = retryDelayMs(attempt, error.retryAfterMs, limits, Math.random());
      await sleep(delayMs, undefined, { signal });
    }
  }
  return received.digest();
}

/**
 * What is waited after the `attempt`th try has failed; `random` is from 0 to 1. Full jitter: whatever made thousands of
 * nodes fail at once, they do not come back at once, not even when the server told all of them the same time.
 */
export function retryDelayMs(
  attempt: number,
  retryAfterMs: number | undefined,
  { backoffMs, maxBackoffMs }: Pick<DownloadLimits, 'backoffMs' | 'maxBackoffMs'>,
  random: number,
): number {
  const askedMs = Math.min(maxBackoffMs, retryAfterMs ?? 0);
  const spreadMs = Math.min(maxBackoffMs, Math.max(askedMs, backoffMs * 2 ** (attempt - 1)));
  return askedMs + random * spreadMs;
}

const RANGE_NOT_SATISFIABLE = 416;

async function fetchRest(
  url: string,
  received: Received,
  { proxy, access }: DownloadOptions,
  signal: AbortSignal,
  { idleMs, progressBytes, maxRedirects }: DownloadLimits,
): Promise<void> {
  const timer = new StallTimer(idleMs, progressBytes);
  const headers = received.rangeHeaders();
  try {
    const response = await get(url, {
      headers,
      maxRedirects,
      proxy,
      access,
      signal: AbortSignal.any([signal, timer.signal]),
    });
    await received.begin(response);
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        timer.add(chunk.length);
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
    if (timer.signal.aborted) throw new Retryable(causeOf(timer.signal.reason), { cause: error });
    if (!(error instanceof Refused) || error.status !== RANGE_NOT_SATISFIABLE) throw error;
    if (headers['range'] === undefined) throw error;
    // What the server has is smaller by now.
    await received.restart();
    throw new Retryable(error.message, { cause: error });
  } finally {
    timer.stop();
  }
}
