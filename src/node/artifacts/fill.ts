/**
 * Fills a version's directory, from nothing to complete.
 *
 * Owns the order that makes it safe: digests are checked and every needed file is found before anything is
 * flushed, and all of it is on disk before the directory gets its name.
 */
import { stat } from 'node:fs/promises';
import type { NodePlan } from '../../crds/nodePlan.ts';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';
import { freeSpace } from '../preflight/disk.ts';
import { fileChunks } from './fileChunks.ts';
import { inspectTree, readArtifactsVersion } from './inspect.ts';
import { MANIFEST_VERSION } from './manifest.ts';
import type { KnownArchive, Reusable } from './reuse.ts';
import type { ArchiveSource } from './source.ts';
import { copyTree, type SourceTree } from './tree.ts';
import { DEFAULT_LIMITS, TreeModel, type TreeLimits } from './treeModel.ts';
import { TreeWriter } from './treeWriter.ts';
import { unpackArchive } from './unpack.ts';
import { beginPartial, completeVersion, discardPartial, versionPath } from './version.ts';

const HARMLESS_BYTES = 1024 ** 3;
const MAX_RATIO = 100;

export type Content =
  { readonly archives: readonly ArchiveSource[] } | { readonly tree: SourceTree };

export interface FillOptions {
  readonly host: Host;
  readonly plan: NodePlan;
  readonly arch: string;
  readonly digest: string;
  readonly content: Content;
  readonly reusable: Reusable;
  /** Where this process finds an archive that was downloaded. */
  readonly downloaded: (sha256: string) => string;
  readonly needBytes: number;
  readonly limits?: TreeLimits;
}

/** Returns the bytes that were written. On an error nothing is left. */
export async function fillVersion(options: FillOptions, signal: AbortSignal): Promise<number> {
  const { host, digest } = options;
  const partial = await beginPartial(host, digest);
  try {
    const writer = new TreeWriter(host.at(partial));
    try {
      return await fillPartial(options, partial, writer, signal);
    } finally {
      await writer.close();
    }
  } catch (error) {
    await discardPartial(host, digest);
    throw await explain(error, options);
  }
}

async function fillPartial(
  options: FillOptions,
  partial: string,
  writer: TreeWriter,
  signal: AbortSignal,
): Promise<number> {
  const { host, digest, plan, arch } = options;
  const model = new TreeModel(options.limits ?? (await limitsOf(options)));
  await placeContent(options, model, writer, signal);
  model.checkLinks();
  await writer.drain(signal);
  const version = await readArtifactsVersion(host, partial, plan.version);
  await inspectTree(host, partial, plan, arch);
  await writer.flush(signal);
  const { entries, archives, bytesWritten } = writer.tree();
  signal.throwIfAborted();
  await completeVersion(host, {
    manifestVersion: MANIFEST_VERSION,
    digest,
    version,
    sizeBytes: entries.reduce(
      (sum, entry) => sum + ('sizeBytes' in entry ? entry.sizeBytes : 0),
      0,
    ),
    entries: [...entries],
    archives: [...archives],
  });
  return bytesWritten;
}

/** What unpacks to a hundred times its size, and to a gigabyte more, is no release but made to fill a disk. */
async function limitsOf({ content, reusable, downloaded }: FillOptions): Promise<TreeLimits> {
  if ('tree' in content) return DEFAULT_LIMITS;
  let totalBytes = HARMLESS_BYTES;
  for (const { name, sha256, at } of content.archives) {
    const known = reusable.archives.get(sha256);
    if (known !== undefined) {
      totalBytes += known.totalBytes;
      continue;
    }
    const file = 'file' in at ? at.file : downloaded(sha256);
    const { size } = await stat(file).catch((error: unknown) => {
      throw ioError(name, error);
    });
    totalBytes += MAX_RATIO * size;
  }
  return { ...DEFAULT_LIMITS, totalBytes: Math.min(DEFAULT_LIMITS.totalBytes, totalBytes) };
}

async function placeContent(
  { content, reusable, downloaded }: FillOptions,
  model: TreeModel,
  writer: TreeWriter,
  signal: AbortSignal,
): Promise<void> {
  if ('tree' in content) {
    copyTree(content.tree, model, writer, signal);
    return;
  }
  for (const { name: archive, sha256, at } of content.archives) {
    writer.beginArchive(sha256);
    const known = reusable.archives.get(sha256);
    if (known !== undefined) {
      placeKnown(archive, known, model, writer);
      continue;
    }
    const compressed = fileChunks('file' in at ? at.file : downloaded(sha256), signal);
    const found = await unpackArchive({ archive, compressed, model, writer, reusable, signal });
    if (found !== sha256)
      throw new KataError('KATA_E_ARTIFACT_DIGEST', { url: archive, wanted: sha256, found });
  }
}

/** By the same rules as if the archive were read: what other archives give may be another now. */
function placeKnown(
  archive: string,
  { entries }: KnownArchive,
  model: TreeModel,
  writer: TreeWriter,
): void {
  for (const entry of entries) {
    const placement = model.accept(archive, {
      name: `${HOST_PATHS.installation.slice(1)}/${entry.path}`,
      type: entry.type,
      mode: 'mode' in entry ? entry.mode : 0,
      sizeBytes: 'sizeBytes' in entry ? entry.sizeBytes : 0,
      ...('target' in entry ? { linkname: entry.target } : {}),
    });
    if ('existing' in entry) writer.placeExisting(placement, entry.existing);
    else writer.place(placement);
  }
}

/** A full disk is reported with its figures: somebody else may have filled it since it was checked. */
async function explain(error: unknown, { host, needBytes, digest }: FillOptions): Promise<unknown> {
  if (error instanceof KataError) return error;
  if (errnoOf(error) !== 'ENOSPC')
    return error instanceof Error && ('syscall' in error || 'from' in error)
      ? ioError(versionPath(digest), error)
      : error;
  const { freeBytes } = await freeSpace(host, HOST_PATHS.installation);
  return new KataError(
    'KATA_E_DISK_SPACE',
    { path: HOST_PATHS.installation, haveBytes: freeBytes, needBytes },
    { cause: error },
  );
}
