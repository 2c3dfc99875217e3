/**
 * Brings a set of artifacts into a version directory, as two steps of a transaction: the download, where
 * there is one, and the version itself.
 *
 * Owns what is done before the first byte: what other versions hold already is found, and room for the
 * rest. Nothing that an engine or a sandbox may refer to is touched.
 */
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError, type ErrorCode } from '../../errors.ts';
import { errnoOf } from '../host/ioError.ts';
import { freeSpace, requireSpace } from '../preflight/disk.ts';
import type { Host } from '../host/host.ts';
import type { Step } from '../transaction/step.ts';
import { readAccess, type AccessPaths } from './access.ts';
import { DOWNLOAD_LIMITS, download, type DownloadLimits } from './download.ts';
import { fillVersion, type FillOptions } from './fill.ts';
import { needOfArchives, needOfTree } from './need.ts';
import { downloadOf } from './received.ts';
import { requirePresent } from './present.ts';
import { findReusable, type Reusable } from './reuse.ts';
import type { ArchiveSource } from './source.ts';
import { discardPartial, readVersion, removeVersion, versionPath } from './version.ts';

export type { Content } from './fill.ts';

export interface InstallOptions extends Pick<
  FillOptions,
  'host' | 'plan' | 'arch' | 'digest' | 'content' | 'limits'
> {
  readonly downloadLimits?: DownloadLimits;
  readonly access?: AccessPaths;
}

/** What both steps need to know of the host before they write: asked once, and only if there is something to do. */
interface Prepared {
  readonly reusable: Reusable;
  readonly needBytes: number;
}

const DOWNLOADS = join(HOST_PATHS.state, 'download');

/** `Download` and `Artifacts`. Both find nothing to do when the version is complete. */
export function artifactSteps(options: InstallOptions): Step[] {
  let prepared: Promise<Prepared> | undefined;
  const prepare = () => (prepared ??= prepareInstall(options));
  const { content } = options;
  const hasRemote = 'archives' in content && content.archives.some(isRemote);
  return [...(hasRemote ? [downloadStep(options, prepare)] : []), versionStep(options, prepare)];
}

/** Throws KATA_E_DISK_SPACE, KATA_E_ARTIFACT_NOT_FOUND. */
async function prepareInstall({ host, content }: InstallOptions): Promise<Prepared> {
  const wanted = 'archives' in content ? content.archives.map(({ sha256 }) => sha256) : [];
  const reusable = await findReusable(host, wanted);
  if ('archives' in content) await requirePresent(content.archives, reusable);
  const needBytes =
    'archives' in content ? needOfArchives(content.archives, reusable) : needOfTree(content.tree);
  requireSpace(await freeSpace(host, HOST_PATHS.installation), needBytes);
  return { reusable, needBytes };
}

function downloadStep(
  { host, digest, content, access = {}, downloadLimits = DOWNLOAD_LIMITS }: InstallOptions,
  prepare: () => Promise<Prepared>,
): Step {
  const remote = 'archives' in content ? content.archives.filter(isRemote) : [];
  let isWorthKeeping = false;
  return {
    name: 'Download',
    check: async () => (await readVersion(host, digest)) !== undefined,
    apply: async (signal) => {
      const { reusable, needBytes } = await prepare();
      const wanted = remote.filter(({ sha256 }) => !reusable.archives.has(sha256));
      await collectDownloads(
        host,
        wanted.map(({ sha256 }) => sha256),
      );
      await mkdir(host.at(DOWNLOADS), { recursive: true, mode: 0o700 });
      const requireRoom = async (bytes: number): Promise<void> => {
        requireSpace(await freeSpace(host, HOST_PATHS.installation), needBytes + bytes);
      };
      let bytesWritten = 0;
      try {
        const granted = await readAccess(
          access,
          wanted.map(({ at }) => at.urls[0] ?? ''),
        );
        for (const { at, sha256 } of wanted) {
          const hostFile = downloadedFile(sha256);
          const options = { ...at, sha256, file: host.at(hostFile), hostFile, requireRoom };
          bytesWritten += await download({ ...options, access: granted }, signal, downloadLimits);
        }
      } catch (error) {
        isWorthKeeping = signal.aborted || (error instanceof KataError && PASSING.has(error.code));
        throw error;
      }
      return { bytesWritten };
    },
    verify: () => Promise.resolve(),
    // What has come is where the next attempt goes on. It is of no use to any other.
    undo: () => (isWorthKeeping ? removeIfEmpty(host) : discardDownloads(host)),
  };
}

/** With these, what has come so far is still right. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'KATA_E_ARTIFACT_FETCH',
  'KATA_E_ARTIFACT_ACCESS',
]);

type RemoteArchive = ArchiveSource & {
  readonly at: Extract<ArchiveSource['at'], { readonly urls: readonly string[] }>;
};

function isRemote(archive: ArchiveSource): archive is RemoteArchive {
  return 'urls' in archive.at;
}

/** Removes what attempts at something else have left. `keep` are sha256 of archives. */
async function collectDownloads(host: Host, keep: readonly string[]): Promise<void> {
  const names = await readdir(host.at(DOWNLOADS)).catch(() => []);
  for (const name of names) {
    if (!keep.includes(downloadOf(name)))
      await rm(host.at(join(DOWNLOADS, name)), { recursive: true, force: true });
  }
}

export async function discardDownloads(host: Host): Promise<void> {
  await rm(host.at(DOWNLOADS), { recursive: true, force: true });
}

async function removeIfEmpty(host: Host): Promise<void> {
  await rmdir(host.at(DOWNLOADS)).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'ENOENT') throw error;
  });
}

function versionStep(options: InstallOptions, prepare: () => Promise<Prepared>): Step {
  const { host, digest } = options;
  const downloaded = (sha256: string) => host.at(downloadedFile(sha256));
  let made = false;
  return {
    name: 'Artifacts',
    check: async () => (await readVersion(host, digest)) !== undefined,
    apply: async (signal) => {
      const prepared = await prepare();
      const bytesWritten = await fillVersion({ ...options, ...prepared, downloaded }, signal);
      made = true;
      await discardDownloads(host);
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

function downloadedFile(sha256: string): string {
  return join(DOWNLOADS, sha256);
}
