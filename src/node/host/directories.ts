/**
 * Making directories on the host, one by one: Node's recursive mkdir reports a read-only file system as a
 * missing directory, and does not tell which ones it made. Removing them in the same way: Node's cannot be stopped.
 */
import { mkdir, readdir, rmdir, stat, unlink } from 'node:fs/promises';
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

/** Files that are removed at a time: the kernel frees their blocks side by side. */
const AT_ONCE = 16;

/** What is not there is fine. It can be stopped at any time. Throws KATA_E_IO, the reason of `signal`. */
export async function removeTree(host: Host, path: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  try {
    const entries = await readdir(host.at(path), { withFileTypes: true });
    for (const entry of entries)
      if (entry.isDirectory()) await removeTree(host, join(path, entry.name), signal);
    const files = entries.filter((entry) => !entry.isDirectory());
    for (let from = 0; from < files.length; from += AT_ONCE) {
      signal.throwIfAborted();
      const some = files.slice(from, from + AT_ONCE);
      await Promise.all(some.map(({ name }) => unlink(host.at(join(path, name)))));
    }
    await rmdir(host.at(path));
  } catch (error) {
    signal.throwIfAborted();
    if (errnoOf(error) !== 'ENOENT') throw ioError(path, error);
  }
}
