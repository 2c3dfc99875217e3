/**
 * The index of a directory of archives: which there are, in the order in which they overlay each other, with their
 * digests. It makes a directory of archives one thing, whether it is bundled in an image or copied to a host.
 *
 * Only reads. That the digests are right is seen when an archive is unpacked.
 */
import { createHash } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { ARCHITECTURES } from '../../crds/artifacts.ts';
import { KataError, causeOf } from '../../errors.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import { fileChunks } from './fileChunks.ts';
import { DEFAULT_LIMITS, TreeModel } from './treeModel.ts';
import { MAGIC_BYTES, decompress, detectFormat } from './formats.ts';
import { readTar } from './tarReader.ts';

export const INDEX_FILE = 'index.json';

export const indexEntry = z.object({
  /** Name of a file beside the index. */
  file: z.string().regex(/^[^/]+$/),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sizeBytes: z.int().nonnegative(),
  /** Sum of the sizes of the files inside. */
  unpackedBytes: z.int().nonnegative(),
  /** Go's name; without it, for every node. */
  arch: z.string().optional(),
  component: z.string().optional(),
});
export type IndexEntry = z.infer<typeof indexEntry>;

const archiveIndex = z.object({ archives: z.array(indexEntry) });

/** `directory` as this process finds it, `shown` as people know it. Undefined without an index. Throws KATA_E_ARTIFACT_FORMAT, KATA_E_IO. */
export async function readIndex(
  directory: string,
  shown: string,
): Promise<readonly IndexEntry[] | undefined> {
  let text: string;
  try {
    text = await readFile(join(directory, INDEX_FILE), 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw ioError(join(shown, INDEX_FILE), error);
  }
  try {
    return archiveIndex.parse(JSON.parse(text)).archives;
  } catch (error) {
    throw new KataError(
      'KATA_E_ARTIFACT_FORMAT',
      { archive: join(shown, INDEX_FILE), cause: `its index is not valid: ${causeOf(error)}` },
      { cause: error },
    );
  }
}

/** `kata-go-static-4.1.0-amd64.tar.zst`: component, version, architecture in Go's words. */
const ARCHIVE_NAME = new RegExp(`^(.+?)-\\d.*-(${ARCHITECTURES.join('|')})\\.tar\\.(?:zst|xz|gz)$`);

/** Reads an archive once, by the rules by which it will be unpacked. Throws KATA_E_ARTIFACT_FORMAT, KATA_E_ARTIFACT_HOSTILE, KATA_E_IO. */
export async function describeArchive(path: string, signal: AbortSignal): Promise<IndexEntry> {
  const file = basename(path);
  const [, component, arch] = ARCHIVE_NAME.exec(file) ?? [];
  if (component === undefined || arch === undefined)
    throw new KataError('KATA_E_ARTIFACT_FORMAT', {
      archive: file,
      cause:
        'it is not named COMPONENT-VERSION-ARCHITECTURE.tar.zst (kata-static-4.1.0-amd64.tar.zst)',
    });
  const hash = createHash('sha256');
  const model = new TreeModel(DEFAULT_LIMITS);
  let sizeBytes = 0;
  let unpackedBytes = 0;
  async function* measured() {
    for await (const chunk of fileChunks(path, signal)) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      yield chunk;
    }
  }
  try {
    const format = detectFormat(await firstBytes(path));
    if (format === undefined) throw new Error('it is neither zstd nor xz nor gzip');
    for await (const event of readTar(decompress(format, measured()))) {
      if (event.kind !== 'entry') continue;
      model.accept(file, event.entry);
      unpackedBytes += event.entry.sizeBytes;
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof KataError) throw error;
    if (error instanceof Error && 'syscall' in error) throw ioError(path, error);
    throw new KataError('KATA_E_ARTIFACT_FORMAT', { archive: file, cause: causeOf(error) });
  }
  return { file, sha256: hash.digest('hex'), sizeBytes, unpackedBytes, arch, component };
}

/** `kata-static` comes first: the others complete it or replace parts of it. */
export function inOverlayOrder(entries: readonly IndexEntry[]): IndexEntry[] {
  const rank = ({ component }: IndexEntry): number => (component === 'kata-static' ? 0 : 1);
  return entries.toSorted((a, b) => rank(a) - rank(b) || (a.file < b.file ? -1 : 1));
}

async function firstBytes(path: string): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAGIC_BYTES), 0, MAGIC_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
