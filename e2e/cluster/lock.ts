/**
 * One writer at a time for what several processes share in the cache.
 *
 * Owns lock files, which hold the process id of their owner. It must never steal a lock whose owner lives.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
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
    await writeFile(path, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (!isErrorCode(error, 'EEXIST')) throw error;
  }
  const owner = Number(await readFile(path, 'utf8').catch(() => ''));
  // An empty file is a lock whose owner has not written its id yet.
  if (owner > 0 && !isAlive(owner)) await rm(path, { force: true });
  return false;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isErrorCode(error, 'EPERM');
  }
}

/** True for a system error with this code. */
export function isErrorCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
