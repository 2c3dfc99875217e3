/**
 * Every file of every version on the host, read and compared with what was unpacked. Only on demand: it reads a
 * gigabyte per version. Versions share files, so that damage in one of them may be in others too.
 */
import { z } from 'zod';
import { KataError } from '../../errors.ts';
import { DIFFERENCES, verifyVersion } from '../artifacts/verifyVersion.ts';
import { listVersions, versionPath } from '../artifacts/version.ts';
import type { StageContext } from './context.ts';

export const FILES_CHECK = 'VersionFiles';

export const fileDifference = z.object({
  /** Of the version. */
  digest: z.string(),
  /** Relative to the version. */
  path: z.string(),
  what: z.enum(DIFFERENCES),
});
export type FileDifference = z.infer<typeof fileDifference>;

const MAX_SHOWN = 3;

/** Throws KATA_E_IO. */
export async function differingFiles({ host, signal }: StageContext): Promise<FileDifference[]> {
  const found: FileDifference[] = [];
  for (const { digest } of await listVersions(host))
    for (const { path, what } of await verifyVersion(host, digest, signal))
      found.push({ digest, path, what });
  return found;
}

/** Throws KATA_E_FILES_CHANGED when there is one. */
export function requireNoDifference(differences: readonly FileDifference[]): void {
  if (differences.length === 0) return;
  const more = differences.length - MAX_SHOWN;
  const shown = differences.slice(0, MAX_SHOWN).map(({ path, what }) => `${path} (${what})`);
  throw new KataError('KATA_E_FILES_CHANGED', {
    count: differences.length,
    path: [...new Set(differences.map(({ digest }) => versionPath(digest)))].join(', '),
    files: more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', '),
  });
}
