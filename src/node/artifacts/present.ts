/**
 * Whether every archive that will be opened is there: found before the first one is unpacked, it costs nothing, and
 * a gigabyte when it is found after it. Reads only; an archive that must be downloaded first is not looked for.
 */
import { stat } from 'node:fs/promises';
import { KataError } from '../../errors.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Reusable } from './reuse.ts';
import type { ArchiveSource } from './source.ts';

/** Throws KATA_E_ARTIFACT_NOT_FOUND with the name of the one that is missing, KATA_E_IO. */
export async function requirePresent(
  archives: readonly ArchiveSource[],
  { archives: known }: Pick<Reusable, 'archives'>,
): Promise<void> {
  for (const { name, sha256, at } of archives) {
    if (known.has(sha256) || !('file' in at)) continue;
    try {
      await stat(at.file);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw ioError(name, error);
      throw new KataError('KATA_E_ARTIFACT_NOT_FOUND', { path: name }, { cause: error });
    }
  }
}
