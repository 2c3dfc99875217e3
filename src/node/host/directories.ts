/**
 * Making directories on the host, one by one: Node's recursive mkdir reports a read-only file system as a
 * missing directory, and does not tell which ones it made. Removing them in the same way: Node's cannot be stopped.
 */
import { mkdir, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncFile } from './hostFile.ts';
import { errnoOf, ioError } from './ioError.ts';
import type { Host } from './host.ts';

/** Durable when it resolves. Returns those that were missing, outermost first. Throws KATA_E_IO, KATA_E_NOT_WRITABLE. */
export async function makeDirectories(host: Host, path: string, mode = 0o755): Promise<string[]> {
  const missing: string[] = [];
  for (let at = path; !(await isDirectory(host, at)); at = dirname(at)) {
    if (at === '/') break;
    missing.unshift(at);
  }
  for (const at of missing) {
    try {
      await mkdir(host.at(at), { mode });
      await syncFile(host.at(dirname(at)));
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || !(await isDirectory(host, at))) throw ioError(at, error);
    }
  }
  return missing;
}

export async function isDirectory(host: Host, path: string): Promise<boolean> {
  return stat(host.at(path)).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}

/** What is not there is fine. Between two files it can be stopped. Throws KATA_E_IO, the reason of `signal`. */
export async function removeTree(host: Host, path: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  try {
    const entries = await readdir(host.at(path), { withFileTypes: true });
    for (const entry of entries) {
      const below = join(path, entry.name);
      if (entry.isDirectory()) {
        await removeTree(host, below, signal);
      } else {
        signal.throwIfAborted();
        await rm(host.at(below), { force: true });
      }
    }
    await rmdir(host.at(path));
  } catch (error) {
    signal.throwIfAborted();
    if (errnoOf(error) !== 'ENOENT') throw ioError(path, error);
  }
}
