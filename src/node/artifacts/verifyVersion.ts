/**
 * Full verification of a version on demand: every file is read and compared with the manifest. What runs
 * every few seconds compares sizes and times instead; this reads a gigabyte.
 */
import { createHash } from 'node:crypto';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { KataError } from '../../errors.ts';
import type { Host } from '../host/host.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import { fileChunks } from './fileChunks.ts';
import type { ManifestEntry } from './manifest.ts';
import { COMPLETE_MARKER } from './treeModel.ts';
import { readManifest, versionPath } from './version.ts';

export const DIFFERENCES = [
  'missing',
  'another type',
  'another mode',
  'another content',
  'unexpected',
] as const;

export interface Difference {
  /** Relative to the version. */
  readonly path: string;
  readonly what: (typeof DIFFERENCES)[number];
}

/** Empty when every byte is as it was unpacked. Throws KATA_E_ARTIFACT_NOT_FOUND and KATA_E_IO. */
export async function verifyVersion(
  host: Host,
  digest: string,
  signal: AbortSignal,
): Promise<Difference[]> {
  const manifest = await readManifest(host, digest);
  if (manifest === undefined)
    throw new KataError('KATA_E_ARTIFACT_NOT_FOUND', { path: versionPath(digest) });
  const differences: Difference[] = [];
  for (const entry of manifest.entries) {
    signal.throwIfAborted();
    const path = join(versionPath(digest), entry.path);
    try {
      const what = await difference(host.at(path), entry, signal);
      if (what !== undefined) differences.push({ path: entry.path, what });
    } catch (error) {
      signal.throwIfAborted();
      throw ioError(path, error);
    }
  }
  const known = new Set(manifest.entries.map(({ path }) => path));
  for (const path of await listed(host.at(versionPath(digest)))) {
    if (path !== COMPLETE_MARKER && !known.has(path))
      differences.push({ path, what: 'unexpected' });
  }
  return differences;
}

async function difference(
  at: string,
  entry: ManifestEntry,
  signal: AbortSignal,
): Promise<Difference['what'] | undefined> {
  const stats = await lstat(at).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  });
  if (stats === undefined) return 'missing';
  switch (entry.type) {
    case 'directory':
      return stats.isDirectory() ? undefined : 'another type';
    case 'symlink':
      if (!stats.isSymbolicLink()) return 'another type';
      return (await readlink(at)) === entry.target ? undefined : 'another content';
    case 'file':
      if (!stats.isFile()) return 'another type';
      if ((stats.mode & 0o7777) !== entry.mode) return 'another mode';
      if (stats.size !== entry.sizeBytes) return 'another content';
      return (await digestOf(at, signal)) === entry.sha256 ? undefined : 'another content';
  }
}

async function digestOf(at: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of fileChunks(at, signal)) hash.update(chunk);
  return hash.digest('hex');
}

async function listed(directory: string, below = ''): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(directory, below), { withFileTypes: true })) {
    const path = join(below, entry.name);
    found.push(path);
    if (entry.isDirectory()) found.push(...(await listed(directory, path)));
  }
  return found;
}
