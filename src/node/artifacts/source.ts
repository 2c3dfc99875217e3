/**
 * Where the artifacts come from, seen alike: an ordered set of archives, or one tree, with a digest.
 *
 * Owns the choice of what applies to this node's architecture and the digest of a version, which is a
 * function of content alone. It opens nothing until asked and never writes.
 */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MOUNTED_IMAGE } from '../../crds/names.ts';
import type { NodePlan, PlanArtifacts } from '../../crds/nodePlan.ts';
import { KataError } from '../../errors.ts';
import type { Host } from '../host/host.ts';
import { INDEX_FILE } from './archiveIndex.ts';
import { directoryArtifacts, indexedArchives, type Directory } from './directorySource.ts';
import { displayUrl } from './download.ts';
import type { Proxy } from './transport.ts';

export interface ArchiveSource {
  /** For messages: a path, or a URL without its query. */
  readonly name: string;
  readonly sha256: string;
  readonly sizeBytes?: number;
  readonly unpackedBytes?: number;
  /** Where this process finds it, or the URLs of which one must be downloaded first. */
  readonly at:
    | { readonly file: string }
    | { readonly urls: readonly string[]; readonly proxy?: Proxy | undefined };
}

export type ArtifactSet =
  | { readonly kind: 'archives'; readonly archives: readonly ArchiveSource[] }
  /** The directory that holds `bin/`. */
  | ({ readonly kind: 'tree' } & Directory);

export interface SourceOptions {
  readonly host: Host;
  readonly plan: NodePlan;
  readonly arch: string;
  /** Directory of this process that holds the bundled archives and index.json. */
  readonly bundleDirectory: string;
  /** Directory of this process where the image of an image volume is mounted. */
  readonly imageDirectory?: string;
}

/**
 * What applies to this node. Archives without an index have no digest until they are read: `hashFiles` says
 * whether to do that now, else their sha256 is empty. Throws KATA_E_ARTIFACT_NOT_FOUND, KATA_E_ARTIFACT_FORMAT,
 * KATA_E_IMAGE_VOLUME.
 */
export async function resolveArtifacts(
  options: SourceOptions,
  hashFiles: boolean,
  signal: AbortSignal,
): Promise<ArtifactSet> {
  const { host, arch } = options;
  const { artifacts } = options.plan;
  switch (artifacts.kind) {
    case 'bundled':
      return { kind: 'archives', archives: await bundledArchives(options) };
    case 'sources':
      return { kind: 'archives', archives: sourceArchives(artifacts, arch) };
    case 'hostPath': {
      const directory = { at: host.at(artifacts.path), path: artifacts.path };
      return directoryArtifacts(directory, arch, hashFiles, signal);
    }
    case 'image': {
      const directory = {
        at: options.imageDirectory ?? MOUNTED_IMAGE,
        path: `image ${artifacts.reference}`,
      };
      await requireMounted(directory);
      return directoryArtifacts(directory, arch, hashFiles, signal);
    }
  }
}

/** First characters of a sha256: long enough that no two versions meet, short enough to be read out. */
const DIGEST_LENGTH = 20;

/** The name of a version's directory. `parts` are digests in the order in which archives overlay each other. */
export function versionDigest(kind: ArtifactSet['kind'], parts: readonly string[]): string {
  return createHash('sha256')
    .update(`${kind}\n${parts.join('\n')}\n`)
    .digest('hex')
    .slice(0, DIGEST_LENGTH);
}

async function bundledArchives({
  bundleDirectory,
  arch,
}: SourceOptions): Promise<readonly ArchiveSource[]> {
  const archives = await indexedArchives({ at: bundleDirectory, path: bundleDirectory }, arch);
  if (archives !== undefined) return archives;
  const path = `${join(bundleDirectory, INDEX_FILE)} (bundled in the node image)`;
  throw new KataError('KATA_E_ARTIFACT_NOT_FOUND', { path });
}

/**
 * An API server without the feature gate leaves the volume out of the Pod, and an engine may mount nothing: neither
 * says a word.
 */
async function requireMounted({ at, path }: Directory): Promise<void> {
  const names = await readdir(at).catch(() => []);
  if (names.length > 0) return;
  const cause = `${path} is not mounted, or empty: the API server (before 1.35: its feature gate ImageVolume) or the engine has passed over it`;
  throw new KataError('KATA_E_IMAGE_VOLUME', { cause });
}

function sourceArchives(
  { sources, proxy }: Extract<PlanArtifacts, { kind: 'sources' }>,
  arch: string,
): ArchiveSource[] {
  const applicable = sources.filter((source) => source.arch === undefined || source.arch === arch);
  if (applicable.length === 0)
    throw new KataError('KATA_E_ARTIFACT_NOT_FOUND', { path: `artifacts.sources for ${arch}` });
  return applicable.map(({ url, mirrors = [], sha256 }) => ({
    name: displayUrl(url),
    sha256,
    at: { urls: [url, ...mirrors], proxy: proxyOf(proxy) },
  }));
}

function proxyOf(
  proxy: { url: string; noProxy?: string | undefined } | undefined,
): Proxy | undefined {
  if (proxy === undefined) return undefined;
  const { url, noProxy } = proxy;
  return { url, ...(noProxy === undefined ? {} : { noProxy }) };
}
