/**
 * Room for what will be written: free bytes and inodes of the file systems that hold /opt/kata and the engine's
 * configuration.
 */
import { stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { KataError } from '../../errors.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';

export interface FreeSpace {
  /** Path on the host that was looked at. */
  readonly path: string;
  readonly freeBytes: number;
  /** Undefined where the file system makes inodes as it needs them (btrfs). */
  readonly freeInodes?: number;
}

/** A release has about a thousand files; a margin for the configuration of many revisions is in it. */
const NEED_INODES = 4000;

/** Beside a file that is replaced: what it holds by then, and the units of the guard. */
const ROOM_BESIDE_BYTES = 64 * 1024;
const ROOM_BESIDE_INODES = 8;

/** Of the nearest ancestor that exists. */
export async function freeSpace(host: Host, path: string): Promise<FreeSpace> {
  for (let at = path; ; at = dirname(at)) {
    try {
      const { bavail, bsize, files, ffree } = await statfs(host.at(at));
      return { path: at, freeBytes: bavail * bsize, ...(files === 0 ? {} : { freeInodes: ffree }) };
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' || at === '/') throw ioError(at, error);
    }
  }
}

/** Throws KATA_E_DISK_SPACE when a file of the host could not be replaced whole. `path` has its links resolved. */
export async function requireSpaceBeside(host: Host, path: string): Promise<void> {
  const size = await stat(host.at(path)).then(
    (stats) => stats.size,
    () => 0,
  );
  const space = await freeSpace(host, dirname(path));
  requireSpace(space, size + ROOM_BESIDE_BYTES, ROOM_BESIDE_INODES);
}

/** Throws KATA_E_DISK_SPACE, KATA_E_IO for a lack of inodes. */
export function requireSpace(
  { path, freeBytes, freeInodes }: FreeSpace,
  needBytes: number,
  needInodes = NEED_INODES,
): void {
  if (freeBytes < needBytes)
    throw new KataError('KATA_E_DISK_SPACE', { path, haveBytes: freeBytes, needBytes });
  if (needBytes > 0 && freeInodes !== undefined && freeInodes < needInodes) {
    throw new KataError('KATA_E_IO', {
      path,
      cause: `${freeInodes} inodes are free, ${needInodes} are needed`,
    });
  }
}
