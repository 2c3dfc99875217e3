/**
 * A directory tree of the host as a source of artifacts: what it holds, with digests, and a copy of it.
 *
 * The same rules hold as for an archive. A tree that changes between its reading and its copying is refused.
 */
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';
import { sha256OfFile, versionDigest } from './source.ts';
import type { ArchiveEntry, TreeModel } from './treeModel.ts';
import type { TreeWriter } from './treeWriter.ts';

export interface TreeEntry extends ArchiveEntry {
  /** Of a file's content. */
  readonly sha256?: string;
}

export interface HostTree {
  /** Path on the host. */
  readonly path: string;
  readonly entries: readonly TreeEntry[];
  readonly sizeBytes: number;
}

/** Walks the tree in the order of names. With `hashFiles` every file is read whole. Throws KATA_E_IO. */
export async function readTree(
  host: Host,
  path: string,
  hashFiles: boolean,
  signal: AbortSignal,
): Promise<HostTree> {
  const entries: TreeEntry[] = [];
  const visit = async (relative: string): Promise<void> => {
    signal.throwIfAborted();
    for (const name of (await readdir(host.at(join(path, relative)))).sort()) {
      const inner = join(relative, name);
      const entry = await describe(host.at(join(path, inner)), inner, hashFiles, signal);
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
  return { path, entries, sizeBytes: entries.reduce((sum, entry) => sum + entry.sizeBytes, 0) };
}

export function treeDigest({ entries }: HostTree): string {
  return versionDigest(
    'tree',
    entries.map(({ name, type, mode, sizeBytes, linkname, sha256 }) =>
      JSON.stringify([name, type, mode & 0o7777, sizeBytes, linkname ?? '', sha256 ?? '']),
    ),
  );
}

/** `tree` was read with digests: a file that has another one by now is refused, with KATA_E_IO. */
export function copyTree(
  host: Host,
  tree: HostTree,
  model: TreeModel,
  writer: TreeWriter,
  signal: AbortSignal,
): void {
  for (const entry of tree.entries) {
    signal.throwIfAborted();
    const from = host.at(join(tree.path, entry.name));
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
