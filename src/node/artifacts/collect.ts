/**
 * Gives back the room of versions that nothing refers to any more.
 *
 * To be called with the host's lock held, after an activation that ended well. It never touches a version
 * that is in use or that the caller wants to keep, and nothing at all when it cannot tell.
 */
import type { Host } from '../host/host.ts';
import { versionUse } from './versionUse.ts';
import { listVersions, removeVersion } from './version.ts';

export interface Collected {
  /** Digests of the versions that were removed. */
  readonly removed: readonly string[];
  /** Digests that are kept for no other reason than that something runs from them. */
  readonly stillUsed: readonly string[];
  /** What could not be looked at; then nothing is removed. */
  readonly unreadable: readonly string[];
}

/** `keep` are the digests that the host's state names: active, staged, and what a rollback would return to. */
export async function collectVersions(
  host: Host,
  keep: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<Collected> {
  const versions = await listVersions(host);
  const candidates = versions.map(({ digest }) => digest).filter((digest) => !keep.has(digest));
  if (candidates.length === 0) return { removed: [], stillUsed: [], unreadable: [] };
  const { used, unreadable } = await versionUse(host, signal);
  const stillUsed = candidates.filter((digest) => used.has(digest));
  if (unreadable.length > 0) return { removed: [], stillUsed, unreadable };
  const removed = candidates.filter((digest) => !used.has(digest));
  for (const digest of removed) {
    signal.throwIfAborted();
    await removeVersion(host, digest);
  }
  return { removed, stillUsed, unreadable };
}
