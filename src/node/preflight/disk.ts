/**
 * Room for a version: free bytes and inodes of the file system that holds /opt/kata.
 */
import { statfs } from 'node:fs/promises';
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
export const NEED_INODES = 4000;

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

/** Throws KATA_E_DISK_SPACE. */
export function requireSpace({ path, freeBytes, freeInodes }: FreeSpace, needBytes: number): void {
  if (freeBytes < needBytes)
    throw new KataError('KATA_E_DISK_SPACE', { path, haveBytes: freeBytes, needBytes });
  if (needBytes > 0 && freeInodes !== undefined && freeInodes < NEED_INODES) {
    throw new KataError('KATA_E_IO', {
      path,
      cause: `${freeInodes} inodes are free, ${NEED_INODES} are needed`,
    });
  }
}
