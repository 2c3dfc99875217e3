/**
 * What other versions on the host hold already: whole archives that need not be unpacked again, and files
 * that may turn out to be the same.
 *
 * Only complete versions count, and of them only files that are still as they were written: damage must
 * not spread. A file that a person may want to edit is never shared between versions. Reads only.
 */
import { lstatSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { Host } from '../host/host.ts';
import type { Fingerprint } from './fileThreadProtocol.ts';
import type { FileEntry, ManifestEntry, VersionManifest } from './manifest.ts';
import type { ExistingFile } from './treeWriter.ts';
import { listVersions, readManifest, versionPath } from './version.ts';

/** What an archive gave when it was unpacked, in an order in which it can be placed again. */
export interface KnownArchive {
  readonly entries: readonly (
    Exclude<ManifestEntry, FileEntry> | (FileEntry & { readonly existing: ExistingFile })
  )[];
  /** Of what must be copied since it cannot be linked. */
  readonly copyBytes: number;
  readonly totalBytes: number;
}

export interface Reusable {
  /** Those of the wanted archives that need neither be fetched nor unpacked, by their sha256. */
  readonly archives: ReadonlyMap<string, KnownArchive>;
  /** A file of the same path, size and mode, which perhaps has the same content. */
  twinOf(
    path: string,
    sizeBytes: number,
    mode: number,
  ): (Fingerprint & { readonly at: string }) | undefined;
}

export const NOTHING_REUSABLE: Reusable = { archives: new Map(), twinOf: () => undefined };

// Small files take little to copy, and most of what people edit is small.
const SMALLEST_LINKED_BYTES = 64 * 1024;
const EDITED_EXTENSIONS = new Set([
  '.toml',
  '.conf',
  '.cfg',
  '.json',
  '.yaml',
  '.yml',
  '.sh',
  '.txt',
]);

/** Whether one file may appear in several versions: then whoever edits it edits all of them. */
export function mayBeShared(path: string, sizeBytes: number): boolean {
  return (
    sizeBytes >= SMALLEST_LINKED_BYTES &&
    !/(^|\/)(etc|defaults)\//.test(path) &&
    !EDITED_EXTENSIONS.has(extname(path))
  );
}

interface Found {
  readonly at: string;
  readonly entry: FileEntry & { readonly mtimeNs: string };
}

/** `wanted` are the sha256 of archives. */
export async function findReusable(host: Host, wanted: readonly string[]): Promise<Reusable> {
  const manifests = await completeManifests(host);
  const byContent = new Map<string, Found>();
  const byPath = new Map<string, Found>();
  for (const { digest, entries } of manifests) {
    for (const entry of entries) {
      if (entry.type !== 'file' || entry.mtimeNs === undefined) continue;
      const { mtimeNs, path } = entry;
      const found = { at: host.at(join(versionPath(digest), path)), entry: { ...entry, mtimeNs } };
      byContent.set(entry.sha256, found);
      if (mayBeShared(path, entry.sizeBytes)) byPath.set(path, found);
    }
  }
  const archives = new Map<string, KnownArchive>();
  for (const sha256 of wanted) {
    const known = knownArchive(sha256, manifests, byContent);
    if (known !== undefined) archives.set(sha256, known);
  }
  return {
    archives,
    twinOf: (path, sizeBytes, mode) => {
      const found = byPath.get(path);
      return found?.entry.sizeBytes === sizeBytes && found.entry.mode === mode
        ? { at: found.at, ...fingerprintOf(found.entry) }
        : undefined;
    },
  };
}

async function completeManifests(host: Host): Promise<VersionManifest[]> {
  const versions = await listVersions(host);
  const read = await Promise.all(versions.map(({ digest }) => readManifest(host, digest)));
  return read.filter((manifest) => manifest !== undefined);
}

/** Undefined when no version was made from it, or a file of it was changed or lost meanwhile. */
function knownArchive(
  sha256: string,
  manifests: readonly VersionManifest[],
  byContent: ReadonlyMap<string, Found>,
): KnownArchive | undefined {
  for (const { archives, entries } of manifests) {
    const index = archives.findIndex((archive) => archive.sha256 === sha256);
    const replaced = archives[index]?.replaced;
    if (replaced === undefined) continue;
    const given = [...entries.filter(({ archive }) => archive === index), ...replaced];
    const known = locate(given, byContent);
    if (known !== undefined) return known;
  }
  return undefined;
}

function locate(
  given: readonly ManifestEntry[],
  byContent: ReadonlyMap<string, Found>,
): KnownArchive | undefined {
  const entries: KnownArchive['entries'][number][] = [];
  let copyBytes = 0;
  let totalBytes = 0;
  for (const entry of given.toSorted((a, b) => (a.path < b.path ? -1 : 1))) {
    if (entry.type !== 'file') {
      entries.push(entry);
      continue;
    }
    const { path, sizeBytes, mode, sha256 } = entry;
    const found = byContent.get(sha256);
    if (found === undefined || !isUnchanged(found)) return undefined;
    const isShared = mayBeShared(path, sizeBytes) && found.entry.mode === mode;
    totalBytes += sizeBytes;
    if (!isShared) copyBytes += sizeBytes;
    const shared = isShared ? { mtimeNs: found.entry.mtimeNs } : {};
    entries.push({ ...entry, existing: { from: found.at, sizeBytes, sha256, ...shared } });
  }
  return { entries, copyBytes, totalBytes };
}

/** Synchronous: it is asked of a thousand files, and the kernel knows the answer. */
function isUnchanged({ at, entry }: Found): boolean {
  try {
    const stats = lstatSync(at, { bigint: true });
    return (
      stats.isFile() &&
      stats.size === BigInt(entry.sizeBytes) &&
      String(stats.mtimeNs) === entry.mtimeNs
    );
  } catch {
    return false;
  }
}

function fingerprintOf({ sizeBytes, mtimeNs, mode }: Found['entry']): Fingerprint {
  return { sizeBytes, mtimeNs, mode };
}
