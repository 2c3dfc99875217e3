/**
 * Brings a set of artifacts into a version directory, as two steps of a transaction: the download, where
 * there is one, and the version itself.
 *
 * Owns the order that makes it safe: digests are checked and every needed file is found before the
 * directory gets its name. Nothing that an engine or a sandbox may refer to is touched.
 */
import { createReadStream } from 'node:fs';
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { NodePlan } from '../../crds/nodePlan.ts';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';
import { freeSpace, requireSpace } from '../preflight/disk.ts';
import type { Step } from '../transaction/step.ts';
import { DOWNLOAD_LIMITS, download, type DownloadLimits } from './download.ts';
import { inspectTree, readArtifactsVersion } from './inspect.ts';
import type { ArchiveSource } from './source.ts';
import { copyTree, type HostTree } from './tree.ts';
import { DEFAULT_LIMITS, TreeModel, type TreeLimits } from './treeModel.ts';
import { TreeWriter } from './treeWriter.ts';
import { unpackArchive } from './unpack.ts';
import {
  MANIFEST_VERSION,
  beginPartial,
  completeVersion,
  discardPartial,
  readVersion,
  removeVersion,
  versionPath,
  type VersionManifest,
} from './version.ts';

export type Content = { readonly archives: readonly ArchiveSource[] } | { readonly tree: HostTree };

export interface InstallOptions {
  readonly host: Host;
  readonly plan: NodePlan;
  readonly arch: string;
  readonly digest: string;
  readonly content: Content;
  /** Bytes that must be free before the first is written. */
  readonly needBytes: number;
  readonly limits?: TreeLimits;
  readonly downloadLimits?: DownloadLimits;
}

const DOWNLOADS = join(HOST_PATHS.state, 'download');

/** `Download` and `Artifacts`. Both find nothing to do when the version is complete. */
export function artifactSteps(options: InstallOptions): Step[] {
  const { content } = options;
  const remote =
    'archives' in content
      ? content.archives.flatMap(({ at, sha256 }) => ('url' in at ? [{ url: at.url, sha256 }] : []))
      : [];
  return [...(remote.length === 0 ? [] : [downloadStep(options, remote)]), versionStep(options)];
}

function downloadStep(
  { host, digest, needBytes, downloadLimits = DOWNLOAD_LIMITS }: InstallOptions,
  archives: readonly { url: string; sha256: string }[],
): Step {
  const discard = () => rm(host.at(DOWNLOADS), { recursive: true, force: true });
  return {
    name: 'Download',
    check: async () => (await readVersion(host, digest)) !== undefined,
    apply: async (signal) => {
      requireSpace(await freeSpace(host, HOST_PATHS.installation), needBytes);
      // Fresh: what an interrupted attempt left is not worth trusting.
      await discard();
      await mkdir(host.at(DOWNLOADS), { recursive: true, mode: 0o700 });
      let bytesWritten = 0;
      for (const { url, sha256 } of archives) {
        const hostFile = downloadedFile(sha256);
        await download({ url, sha256, file: host.at(hostFile), hostFile }, signal, downloadLimits);
        bytesWritten += (await stat(host.at(hostFile))).size;
      }
      return { bytesWritten };
    },
    verify: () => Promise.resolve(),
    undo: discard,
  };
}

function versionStep(options: InstallOptions): Step {
  const { host, digest } = options;
  let made = false;
  return {
    name: 'Artifacts',
    check: async () => (await readVersion(host, digest)) !== undefined,
    apply: async (signal) => {
      requireSpace(await freeSpace(host, HOST_PATHS.installation), options.needBytes);
      const bytesWritten = await fillVersion(options, signal);
      made = true;
      await rm(host.at(DOWNLOADS), { recursive: true, force: true });
      return { bytesWritten };
    },
    verify: async () => {
      if ((await readVersion(host, digest)) === undefined) {
        throw new KataError('KATA_E_IO', {
          path: versionPath(digest),
          cause: 'the version is not complete',
        });
      }
    },
    undo: async () => {
      await discardPartial(host, digest);
      if (made) await removeVersion(host, digest);
    },
  };
}

async function fillVersion(options: InstallOptions, signal: AbortSignal): Promise<number> {
  const { host, digest, plan, arch } = options;
  const partial = await beginPartial(host, digest);
  const model = new TreeModel(options.limits ?? DEFAULT_LIMITS);
  const writer = new TreeWriter(host.at(partial));
  try {
    await placeContent(options, model, writer, signal);
    model.checkLinks();
    const version = await readArtifactsVersion(host, partial, plan.version);
    await inspectTree(host, partial, plan, arch);
    await writer.flush(model, signal);
    const manifest: VersionManifest = {
      manifestVersion: MANIFEST_VERSION,
      digest,
      version,
      sizeBytes: writer.bytesWritten,
      entries: writer.entries(),
    };
    signal.throwIfAborted();
    await completeVersion(host, manifest);
    return writer.bytesWritten;
  } catch (error) {
    await discardPartial(host, digest);
    throw await explain(error, options);
  }
}

async function placeContent(
  { host, content }: InstallOptions,
  model: TreeModel,
  writer: TreeWriter,
  signal: AbortSignal,
): Promise<void> {
  if ('tree' in content) {
    await copyTree(host, content.tree, model, writer, signal);
    return;
  }
  for (const { name: archive, sha256, at } of content.archives) {
    const file = 'file' in at ? at.file : host.at(downloadedFile(sha256));
    const compressed = createReadStream(file, { highWaterMark: 1024 * 1024, signal });
    const found = await unpackArchive({ archive, compressed, model, writer, signal });
    if (found !== sha256)
      throw new KataError('KATA_E_ARTIFACT_DIGEST', { url: archive, wanted: sha256, found });
  }
}

function downloadedFile(sha256: string): string {
  return join(DOWNLOADS, sha256);
}

/** A full disk is reported with its figures: somebody else may have filled it since it was checked. */
async function explain(
  error: unknown,
  { host, needBytes, digest }: InstallOptions,
): Promise<unknown> {
  if (error instanceof KataError) return error;
  if (errnoOf(error) !== 'ENOSPC')
    return error instanceof Error && 'syscall' in error
      ? ioError(versionPath(digest), error)
      : error;
  const { freeBytes } = await freeSpace(host, HOST_PATHS.installation);
  return new KataError(
    'KATA_E_DISK_SPACE',
    { path: HOST_PATHS.installation, haveBytes: freeBytes, needBytes },
    { cause: error },
  );
}
