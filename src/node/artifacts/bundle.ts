/**
 * A bundle: archives in one directory, with an index and what builds an image of them, for clusters that reach nothing
 * outside. Every source that takes a directory takes it, and whoever unpacks an archive of it checks its digest.
 *
 * The directory gets its name when it is complete. Interrupted work lies beside it under `.partial` and is gone on with.
 */
import { constants } from 'node:fs';
import { chmod, copyFile, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { KataError } from '../../errors.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import { readAccess, type AccessPaths } from './access.ts';
import {
  INDEX_FILE,
  describeArchive,
  inOverlayOrder,
  indexEntry,
  type IndexEntry,
} from './archiveIndex.ts';
import { DOWNLOAD_LIMITS, displayUrl, download, type DownloadLimits } from './download.ts';

/** An archive on this machine, or one to be fetched. */
export type BundleSource =
  { readonly file: string } | { readonly url: string; readonly sha256: string };

export interface BundleOptions {
  /** Must not exist yet, or be empty. */
  readonly directory: string;
  readonly sources: readonly BundleSource[];
  readonly access?: AccessPaths;
  readonly downloadLimits?: DownloadLimits;
}

export const bundleReport = z.object({
  directory: z.string(),
  /** In the order in which they overlay each other. */
  archives: z.array(indexEntry),
});
export type BundleReport = z.infer<typeof bundleReport>;

/** Returns what is in it. Throws KATA_E_BUNDLE and what reading and fetching an archive throws. */
export async function makeBundle(
  options: BundleOptions,
  signal: AbortSignal,
): Promise<BundleReport> {
  const directory = resolve(options.directory);
  await requireEmpty(directory);
  const names = options.sources.map(fileName);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw problem(directory, `two archives are called ${twice}`);
  const partial = `${directory}.partial`;
  await mkdir(partial, { recursive: true }).catch((error: unknown) => {
    throw ioError(partial, error);
  });
  const entries: IndexEntry[] = [];
  for (const source of options.sources) {
    const file = join(partial, fileName(source));
    await bring(source, file, options, signal);
    entries.push(await describeArchive(file, signal));
  }
  const archives = inOverlayOrder(entries);
  await complete(directory, partial, archives);
  return { directory, archives };
}

async function bring(
  source: BundleSource,
  file: string,
  { sources, access = {}, downloadLimits = DOWNLOAD_LIMITS }: BundleOptions,
  signal: AbortSignal,
): Promise<void> {
  if ('file' in source) {
    await copyFile(source.file, file, constants.COPYFILE_FICLONE).catch((error: unknown) => {
      throw errnoOf(error) === 'ENOENT'
        ? new KataError('KATA_E_ARTIFACT_NOT_FOUND', { path: source.file }, { cause: error })
        : ioError(source.file, error);
    });
    return;
  }
  const { url, sha256 } = source;
  const urls = sources.flatMap((other) => ('url' in other ? [other.url] : []));
  const granted = await readAccess(access, urls);
  const wanted = { urls: [url], sha256, file, hostFile: file, access: granted };
  await download(wanted, signal, downloadLimits);
  // Whoever builds an image of it, or copies it to a node, need not be who made it.
  await chmod(file, 0o644);
}

async function complete(
  directory: string,
  partial: string,
  archives: readonly IndexEntry[],
): Promise<void> {
  const sums = archives.map(({ sha256, file }) => `${sha256}  ${file}\n`).join('');
  try {
    await removeOthers(partial, archives);
    await writeFile(join(partial, INDEX_FILE), `${JSON.stringify({ archives }, null, 2)}\n`);
    await writeFile(join(partial, 'SHA256SUMS'), sums);
    await writeFile(join(partial, 'Dockerfile'), DOCKERFILE);
    await writeFile(join(partial, 'node.Dockerfile'), NODE_DOCKERFILE);
    await rename(partial, directory);
  } catch (error) {
    throw ioError(directory, error);
  }
}

/** What an earlier attempt with other archives has left. */
async function removeOthers(partial: string, archives: readonly IndexEntry[]): Promise<void> {
  for (const name of await readdir(partial))
    if (!archives.some(({ file }) => file === name)) await rm(join(partial, name));
}

async function requireEmpty(directory: string): Promise<void> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw ioError(directory, error);
  });
  if (names.length > 0) throw problem(directory, 'it is not empty');
}

function fileName(source: BundleSource): string {
  if ('file' in source) return basename(source.file);
  const name = decodeURIComponent(basename(new URL(source.url).pathname));
  if (name === '' || name.includes('/'))
    throw problem(displayUrl(source.url), 'it does not end in the name of a file');
  return name;
}

function problem(name: string, cause: string): KataError {
  return new KataError('KATA_E_BUNDLE', { name, cause });
}

const DOCKERFILE = `# For spec.artifacts.image: push what this builds to a registry of yours, and name it by digest.
FROM scratch
COPY *.tar.* ${INDEX_FILE} SHA256SUMS /
`;

const NODE_DOCKERFILE = `# For bundled artifacts: a node image with these archives inside.
ARG NODE_IMAGE
FROM \${NODE_IMAGE}
COPY *.tar.* ${INDEX_FILE} /artifacts/
`;
