/**
 * How much room a set of artifacts takes: known where the node image or the tree says it, else a floor
 * that a whole release fits into.
 */
import { NOTHING_REUSABLE, type Reusable } from './reuse.ts';
import type { ArchiveSource } from './source.ts';
import type { SourceTree } from './tree.ts';

/** A release of Kata 4.1 unpacks to about 1.1 GB; its archives have 0.6 GB. */
export const UNKNOWN_NEED_BYTES = 1.5 * 1024 ** 3;

// File systems take more than the files have: blocks, directories, the marker.
const OVERHEAD_SHARE = 1.05;

/** What is reused takes no room, save for what must be copied. */
export function needOfArchives(
  archives: readonly ArchiveSource[],
  { archives: known }: Pick<Reusable, 'archives'> = NOTHING_REUSABLE,
): number {
  let sum = 0;
  for (const { unpackedBytes, sha256 } of archives) {
    const needBytes = known.get(sha256)?.copyBytes ?? unpackedBytes;
    if (needBytes === undefined) return UNKNOWN_NEED_BYTES;
    sum += needBytes;
  }
  return Math.ceil(sum * OVERHEAD_SHARE);
}

export function needOfTree({ sizeBytes }: Pick<SourceTree, 'sizeBytes'>): number {
  return Math.ceil(sizeBytes * OVERHEAD_SHARE);
}
