/**
 * A directory as a source of artifacts: a tree with `bin/`, archives with an index, or archives alone. The same holds
 * for a directory of the host, of the node image and of an image that is mounted.
 *
 * Only reads, and nothing outside of the directory: what it holds may be a link to somewhere else.
 */
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, posix, sep } from 'node:path';
import { KataError } from '../../errors.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import { fileNamedFor } from './architecture.ts';
import { INDEX_FILE, readIndex } from './archiveIndex.ts';
import { sha256OfFile } from './sha256.ts';
import type { ArchiveSource, ArtifactSet } from './source.ts';

export interface Directory {
  /** As this process finds it. */
  readonly at: string;
  /** As people know it. */
  readonly path: string;
}

/** What of it is for a node of this architecture. Throws KATA_E_ARTIFACT_NOT_FOUND, KATA_E_ARTIFACT_FORMAT, KATA_E_IO. */
export async function directoryArtifacts(
  directory: Directory,
  arch: string,
  hashFiles: boolean,
  signal: AbortSignal,
): Promise<ArtifactSet> {
  const indexed = await indexedArchives(directory, arch);
  if (indexed !== undefined) return { kind: 'archives', archives: indexed };
  const tree = await findTree(directory);
  if (tree !== undefined) return { kind: 'tree', ...tree };
  return { kind: 'archives', archives: await namedArchives(directory, arch, hashFiles, signal) };
}

/** Undefined without an index. */
export async function indexedArchives(
  { at, path }: Directory,
  arch: string,
): Promise<readonly ArchiveSource[] | undefined> {
  const index = await readIndex(at, path);
  if (index === undefined) return undefined;
  const archives = index.filter((archive) => archive.arch === undefined || archive.arch === arch);
  if (archives.length === 0)
    throw new KataError('KATA_E_ARTIFACT_NOT_FOUND', {
      path: `${join(path, INDEX_FILE)} for ${arch}`,
    });
  return archives.map(({ file, sha256, sizeBytes, unpackedBytes }) => ({
    name: join(path, file),
    sha256,
    sizeBytes,
    unpackedBytes,
    at: { file: join(at, file) },
  }));
}

async function findTree({ at, path }: Directory): Promise<Directory | undefined> {
  for (const inner of ['', 'opt/kata']) {
    for (const name of ['bin', 'runtime-rs']) {
      if (!(await isDirectory(join(at, inner, name)))) continue;
      await requireInside(at, join(at, inner), posix.join(path, inner));
      return { at: join(at, inner), path: posix.join(path, inner) };
    }
  }
  return undefined;
}

/** A link in an image would lead into this container, and to what else is mounted there. */
async function requireInside(directory: string, tree: string, shown: string): Promise<void> {
  const [outer, inner] = await Promise.all([realpath(directory), realpath(tree)]);
  if (inner !== outer && !inner.startsWith(outer.endsWith(sep) ? outer : outer + sep))
    throw new KataError('KATA_E_ARTIFACT_HOSTILE', {
      archive: shown,
      entry: 'opt/kata',
      cause: 'it is a link that leads out of the directory',
    });
}

async function namedArchives(
  { at, path }: Directory,
  arch: string,
  hashFiles: boolean,
  signal: AbortSignal,
): Promise<ArchiveSource[]> {
  const names = await readdir(at).catch((error: unknown) => {
    throw errnoOf(error) === 'ENOENT'
      ? new KataError('KATA_E_ARTIFACT_NOT_FOUND', { path }, { cause: error })
      : ioError(path, error);
  });
  const archives = names
    .filter((name) => /\.tar\.(zst|xz|gz)$/.test(name) && fileNamedFor(name, arch))
    .sort();
  if (archives.length === 0) throw new KataError('KATA_E_ARTIFACT_NOT_FOUND', { path });
  const sources: ArchiveSource[] = [];
  for (const name of archives) {
    const file = join(at, name);
    const shown = posix.join(path, name);
    try {
      const { size } = await stat(file);
      const sha256 = hashFiles ? await sha256OfFile(file, signal) : '';
      sources.push({ name: shown, sizeBytes: size, sha256, at: { file } });
    } catch (error) {
      throw ioError(shown, error);
    }
  }
  return sources;
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}
