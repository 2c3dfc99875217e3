/**
 * Replacing one file of the host whole, or not at all, and without changing what it is: mode and owner stay,
 * a symbolic link stays a link.
 *
 * Links are resolved inside the host's root: under a mount, an absolute target must not lead into our own tree.
 */
import { closeSync, fstatSync, openSync, readSync, renameSync, statSync } from 'node:fs';
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
    await layBeside(target, temporary, file, bytes);
    const old = renameOver(temporary, target, file);
    try {
      await syncFile(dirname(target));
      const since = old === undefined ? undefined : readWhole(old);
      if (isSame(since, file.bytes)) return;
      // Who had it open has written to it all the same: theirs goes back, and the edit begins anew.
      await layBeside(target, temporary, file, since ?? Buffer.alloc(0));
      await rename(temporary, target);
      throw changed(file);
    } finally {
      if (old !== undefined) closeSync(old);
    }
  } catch (error) {
    await rm(temporary, { force: true });
    throw ioError(file.path, error);
  }
}

/** The file as it will be, whole and on disk, under the temporary name. */
async function layBeside(
  target: string,
  temporary: string,
  file: HostFile,
  bytes: Uint8Array,
): Promise<void> {
  await writeDurably(temporary, bytes, file);
  if (file.bytes === undefined) return;
  await copyAttributes({ from: target, to: temporary, shown: file.path });
  await syncFile(temporary);
}

/**
 * Looks and renames in one go: between two turns of the event loop there is time for somebody to write. Returns the file
 * that was there, open. Throws KATA_E_CONFIG_CHANGED.
 */
function renameOver(temporary: string, target: string, file: HostFile): number | undefined {
  const old = openedIfThere(target);
  try {
    if (!isSame(old === undefined ? undefined : readWhole(old), file.bytes)) throw changed(file);
    const inode = old === undefined ? undefined : fstatSync(old).ino;
    if (statSync(target, { throwIfNoEntry: false })?.ino !== inode) throw changed(file);
    renameSync(temporary, target);
    return old;
  } catch (error) {
    if (old !== undefined) closeSync(old);
    throw error;
  }
}

function openedIfThere(at: string): number | undefined {
  try {
    return openSync(at, 'r');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** From its beginning, wherever it was read to. */
function readWhole(descriptor: number): Buffer {
  const bytes = Buffer.alloc(fstatSync(descriptor).size);
  const length = readSync(descriptor, bytes, 0, bytes.length, 0);
  return bytes.subarray(0, length);
}

function isSame(left: Buffer | undefined, right: Buffer | undefined): boolean {
  return left === undefined ? right === undefined : right?.equals(left) === true;
}

function changed({ path }: HostFile): KataError {
  return new KataError('KATA_E_CONFIG_CHANGED', { file: path });
}

/** Between reading and replacing, others may have written: what they wrote is not lost. Throws KATA_E_CONFIG_CHANGED. */
export async function assertUnchanged(host: Host, file: HostFile): Promise<void> {
  const present = await readFile(host.at(file.path)).catch((error: unknown) => {
    if (isMissing(error)) return undefined;
    throw error;
  });
  if (!isSame(present, file.bytes)) throw changed(file);
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
