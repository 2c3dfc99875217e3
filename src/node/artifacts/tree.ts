/**
 * A directory tree as a source of artifacts: what it holds, with digests, and a copy of it.
 *
 * The same rules hold as for an archive. A tree that changes between its reading and its copying is refused.
 */
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ioError } from '../host/ioError.ts';
import type { Directory } from './directorySource.ts';
import { sha256OfFile } from './sha256.ts';
import { versionDigest } from './source.ts';
import type { ArchiveEntry, TreeModel } from './treeModel.ts';
import type { TreeWriter } from './treeWriter.ts';

export interface TreeEntry extends ArchiveEntry {
  /** Of a file's content. */
  readonly sha256?: string;
}

export interface SourceTree extends Directory {
  readonly entries: readonly TreeEntry[];
  readonly sizeBytes: number;
}

/** Walks the tree in the order of names. With `hashFiles` every file is read whole. Throws KATA_E_IO. */
export async function readTree(
  { at, path }: Directory,
  hashFiles: boolean,
  signal: AbortSignal,
): Promise<SourceTree> {
  const entries: TreeEntry[] = [];
  const visit = async (relative: string): Promise<void> => {
    signal.throwIfAborted();
    for (const name of (await readdir(join(at, relative))).sort()) {
      const inner = join(relative, name);
      const entry = await describe(join(at, inner), inner, hashFiles, signal);
      entries.push(entry);
      if (entry.type === 'directory') await visit(inner);
    }
  };
  try {
    await visit('');
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw ioError(path, error);
  }
  return { at, path, entries, sizeBytes: entries.reduce((sum, entry) => sum + entry.sizeBytes, 0) };
}

export function treeDigest({ entries }: SourceTree): string {
  return versionDigest(
    'tree',
    entries.map(({ name, type, mode, sizeBytes, linkname, sha256 }) =>
      JSON.stringify([name, type, mode & 0o7777, sizeBytes, linkname ?? '', sha256 ?? '']),
    ),
  );
}

/** `tree` was read with digests: a file that has another one by now is refused, with KATA_E_IO. */
export function copyTree(
  tree: SourceTree,
  model: TreeModel,
  writer: TreeWriter,
  signal: AbortSignal,
): void {
  for (const entry of tree.entries) {
    signal.throwIfAborted();
    const from = join(tree.at, entry.name);
    writer.placeExisting(model.accept(tree.path, entry), {
      from,
      sizeBytes: entry.sizeBytes,
      sha256: entry.sha256 ?? '',
    });
  }
}

async function describe(
  at: string,
  name: string,
  hashFiles: boolean,
  signal: AbortSignal,
): Promise<TreeEntry> {
  const stats = await lstat(at);
  const entry = { name, mode: stats.mode & 0o7777, sizeBytes: 0 };
  if (stats.isDirectory()) return { ...entry, type: 'directory' };
  if (stats.isSymbolicLink())
    return { ...entry, mode: 0, type: 'symlink', linkname: await readlink(at) };
  if (!stats.isFile()) return { ...entry, type: 'special file' };
  const sha256 = hashFiles ? await sha256OfFile(at, signal) : undefined;
  return {
    ...entry,
    type: 'file',
    sizeBytes: stats.size,
    ...(sha256 === undefined ? {} : { sha256 }),
  };
}
