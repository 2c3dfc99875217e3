/**
 * Replacing one file of the host whole, or not at all, and without changing what it is: mode and owner stay,
 * a symbolic link stays a link.
 *
 * Links are resolved inside the host's root: under a mount, an absolute target must not lead into our own tree.
 */
import { lstat, open, readFile, readlink, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, normalize } from 'node:path';
import { KataError } from '../../errors.ts';
import { copyAttributes } from './helper.ts';
import type { Host } from './host.ts';
import { errnoOf, ioError } from './ioError.ts';

export interface HostFile {
  /** Path on the host, links resolved. */
  readonly path: string;
  /** Undefined when there is no such file. */
  readonly bytes?: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Reads a file and what it takes to write it again. Of a missing one, mode 0644 and owner root. Throws KATA_E_IO. */
export async function readHostFile(host: Host, path: string): Promise<HostFile> {
  const resolved = await resolveOnHost(host, path);
  try {
    const bytes = await readFile(host.at(resolved));
    const { mode, uid, gid } = await stat(host.at(resolved));
    return { path: resolved, bytes, mode: mode & 0o7777, uid, gid };
  } catch (error) {
    if (isMissing(error)) return { path: resolved, mode: 0o644, uid: 0, gid: 0 };
    throw ioError(resolved, error);
  }
}

/**
 * Where the new bytes lie until they take the file's place: always the same name, so that what a crash left
 * is written over or found. It does not end as configuration files do, so that no pattern picks it up.
 */
export function temporaryPath(path: string): string {
  const directory = dirname(path);
  // CRI-O reads every file of its drop-in directory, whatever its name is.
  const beside = directory.endsWith('.d') ? dirname(directory) : directory;
  return join(beside, `.${basename(path)}.kata-operator-new`);
}

/** Writes a temporary file beside the target, flushes it, renames it over the target and flushes the directory. */
export async function writeHostFile(host: Host, file: HostFile, bytes: Uint8Array): Promise<void> {
  const temporary = temporaryPath(file.path);
  try {
    await writeDurably(host.at(temporary), bytes, file);
    await rename(host.at(temporary), host.at(file.path));
    await syncFile(host.at(dirname(file.path)));
  } catch (error) {
    await rm(host.at(temporary), { force: true });
    throw ioError(file.path, error);
  }
}

/**
 * Puts other bytes in the place of a file that was read, and keeps what it is: mode, owner, extended attributes
 * with its SELinux label. Throws KATA_E_CONFIG_CHANGED when it is not the file that was read any more.
 */
export async function replaceHostFile(
  host: Host,
  file: HostFile,
  bytes: Uint8Array,
): Promise<void> {
  const temporary = host.at(temporaryPath(file.path));
  const target = host.at(file.path);
  try {
    await assertUnchanged(host, file);
    await writeDurably(temporary, bytes, file);
    if (file.bytes !== undefined) {
      await copyAttributes({ from: target, to: temporary, shown: file.path });
      await syncFile(temporary);
    }
    await assertUnchanged(host, file);
    await rename(temporary, target);
    await syncFile(dirname(target));
  } catch (error) {
    await rm(temporary, { force: true });
    throw ioError(file.path, error);
  }
}

/** Between reading and replacing, others may have written: what they wrote is not lost. Throws KATA_E_CONFIG_CHANGED. */
export async function assertUnchanged(host: Host, { path, bytes }: HostFile): Promise<void> {
  const present = await readFile(host.at(path)).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
  const same = present === undefined ? bytes === undefined : bytes?.equals(present) === true;
  if (!same) throw new KataError('KATA_E_CONFIG_CHANGED', { file: path });
}

/** Writes a file that only we read (a candidate, a backup), flushed, with the mode and owner given. */
export async function writeDurably(
  at: string,
  bytes: Uint8Array,
  { mode, uid, gid }: Pick<HostFile, 'mode' | 'uid' | 'gid'>,
): Promise<void> {
  const handle = await open(at, 'w', 0o600);
  try {
    await handle.chmod(mode);
    await handle.chown(uid, gid);
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Takes the file away and flushes its directory. */
export async function removeHostFile(host: Host, path: string): Promise<void> {
  try {
    await rm(host.at(path), { force: true });
    await syncFile(host.at(dirname(path)));
  } catch (error) {
    throw ioError(path, error);
  }
}

/** Follows links of every component, within the host's root. The last component may be missing. */
export async function resolveOnHost(host: Host, path: string): Promise<string> {
  let pending = normalize(path)
    .split('/')
    .filter((part) => part !== '');
  let resolved = '/';
  for (let links = 0; pending.length > 0;) {
    const [next = '', ...rest] = pending;
    pending = rest;
    if (next === '..') {
      resolved = dirname(resolved);
      continue;
    }
    const candidate = join(resolved, next);
    const target = await linkTarget(host.at(candidate), candidate);
    if (target === undefined) {
      resolved = candidate;
      continue;
    }
    links += 1;
    if (links > 40)
      throw new KataError('KATA_E_IO', { path, cause: 'too many levels of symbolic links' });
    if (target.startsWith('/')) resolved = '/';
    pending = [...target.split('/').filter((part) => part !== '' && part !== '.'), ...pending];
  }
  return resolved;
}

/** True when there is something at the path, links followed within the host's root. */
export async function existsOnHost(host: Host, path: string): Promise<boolean> {
  try {
    await lstat(host.at(await resolveOnHost(host, path)));
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw ioError(path, error);
  }
}

async function linkTarget(at: string, shown: string): Promise<string | undefined> {
  try {
    return (await lstat(at)).isSymbolicLink() ? await readlink(at) : undefined;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw ioError(shown, error);
  }
}

/** fsync of a file or directory. */
export async function syncFile(at: string): Promise<void> {
  const handle = await open(at, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function isMissing(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'ENOENT' || errno === 'ENOTDIR';
}
