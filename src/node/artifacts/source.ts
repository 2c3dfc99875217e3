/**
 * Where the artifacts come from, seen alike: an ordered set of archives, or one tree, with a digest.
 *
 * Owns the choice of what applies to this node's architecture and the digest of a version, which is a
 * function of content alone. It opens nothing until asked and never writes, save for the download's file.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { z } from 'zod';
import type { NodePlan, PlanArtifacts } from '../../crds/nodePlan.ts';
import { KataError, causeOf } from '../../errors.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import { fileNamedFor } from './architecture.ts';
import { displayUrl } from './download.ts';
import type { Proxy } from './transport.ts';
import type { Host } from '../host/host.ts';

export interface ArchiveSource {
  /** For messages: a file name, a path on the host or a URL without its query. */
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
  /** `path` on the host: the directory that holds `bin/`. */
  | { readonly kind: 'tree'; readonly path: string };

const bundledIndex = z.object({
  archives: z.array(
    z.object({
      file: z.string().regex(/^[^/]+$/),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
      sizeBytes: z.int().nonnegative(),
      unpackedBytes: z.int().nonnegative(),
      arch: z.string().optional(),
      component: z.string().optional(),
    }),
  ),
});

export interface SourceOptions {
  readonly host: Host;
  readonly plan: NodePlan;
  readonly arch: string;
  /** Directory of this process that holds the bundled archives and index.json. */
  readonly bundleDirectory: string;
}

/**
 * What applies to this node. Archives on the host have no digest until they are read: `hashFiles` says
 * whether to do that now, else their sha256 is empty. Throws KATA_E_ARTIFACT_NOT_FOUND and KATA_E_ARTIFACT_FORMAT.
 */
export async function resolveArtifacts(
  options: SourceOptions,
  hashFiles: boolean,
  signal: AbortSignal,
): Promise<ArtifactSet> {
  const { artifacts } = options.plan;
  switch (artifacts.kind) {
    case 'bundled':
      return { kind: 'archives', archives: await bundledArchives(options) };
    case 'sources':
      return { kind: 'archives', archives: sourceArchives(artifacts, options.arch) };
    case 'hostPath':
      return hostPathArtifacts(options, artifacts.path, hashFiles, signal);
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

async function bundledArchives({ bundleDirectory, arch }: SourceOptions): Promise<ArchiveSource[]> {
  const file = join(bundleDirectory, 'index.json');
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new KataError(
      'KATA_E_ARTIFACT_NOT_FOUND',
      { path: `${file} (bundled in the node image)` },
      { cause: error },
    );
  });
  let index: z.infer<typeof bundledIndex>;
  try {
    index = bundledIndex.parse(JSON.parse(text));
  } catch (error) {
    throw new KataError(
      'KATA_E_ARTIFACT_FORMAT',
      { archive: file, cause: `its index is not valid: ${causeOf(error)}` },
      { cause: error },
    );
  }
  const archives = index.archives.filter(
    (archive) => archive.arch === undefined || archive.arch === arch,
  );
  if (archives.length === 0)
    throw new KataError('KATA_E_ARTIFACT_NOT_FOUND', { path: `${file} for ${arch}` });
  return archives.map(({ file: name, sha256, sizeBytes, unpackedBytes }) => ({
    name,
    sha256,
    sizeBytes,
    unpackedBytes,
    at: { file: join(bundleDirectory, name) },
  }));
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

async function hostPathArtifacts(
  { host, arch }: SourceOptions,
  path: string,
  hashFiles: boolean,
  signal: AbortSignal,
): Promise<ArtifactSet> {
  for (const candidate of [path, posix.join(path, 'opt/kata')]) {
    if (await isDirectory(host.at(posix.join(candidate, 'bin'))))
      return { kind: 'tree', path: candidate };
    if (await isDirectory(host.at(posix.join(candidate, 'runtime-rs'))))
      return { kind: 'tree', path: candidate };
  }
  const names = await readdir(host.at(path)).catch((error: unknown) => {
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
    const hostFile = posix.join(path, name);
    const file = host.at(hostFile);
    try {
      const { size } = await stat(file);
      sources.push({
        name: hostFile,
        sizeBytes: size,
        sha256: hashFiles ? await sha256OfFile(file, signal) : '',
        at: { file },
      });
    } catch (error) {
      throw ioError(hostFile, error);
    }
  }
  return { kind: 'archives', archives: sources };
}

export async function sha256OfFile(file: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1024 * 1024, signal }))
    hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
}
