/**
 * One writer at a time for what several processes share in the cache.
 *
 * Owns lock files, which name the process that owns them. It must never steal a lock whose owner lives.
 */
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 200;

/**
 * Runs `work` while holding the lock file `path`.
 * @throws Error when another live process holds it for longer than `timeoutMs` (default 40 min).
 */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  timeoutMs = 40 * 60_000,
): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  const deadline = performance.now() + timeoutMs;
  while (!(await acquire(path))) {
    if (performance.now() > deadline) {
      throw new Error(`${path} is held by another process for ${timeoutMs / 1000} s`);
    }
    await sleep(POLL_MS);
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

async function acquire(path: string): Promise<boolean> {
  try {
    await writeFile(path, await identity(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (!isErrorCode(error, 'EEXIST')) throw error;
  }
  const owner = await readFile(path, 'utf8').catch(() => '');
  // An empty file is a lock whose owner has not written its name yet.
  const isGone = owner !== '' && (await identity(Number(owner.split(' ')[0]))) !== owner;
  if (isGone) await removeStale(path, owner);
  return false;
}

/** Takes away the lock of `owner` and of nobody else: another waiter may have been faster. */
async function removeStale(path: string, owner: string): Promise<void> {
  const aside = `${path}.${process.pid}`;
  await rename(path, aside).catch(() => undefined);
  const taken = await readFile(aside, 'utf8').catch(() => owner);
  if (taken !== owner) await link(aside, path);
  await rm(aside, { force: true });
}

/** A process id with the start time of its process: ids are used again. */
async function identity(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The second field may hold anything, also spaces; the start time is the 22nd.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return `${pid} ${fields[19] ?? ''}`;
}

/** True for a system error with this code. */
export function isErrorCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
