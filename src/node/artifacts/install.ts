/**
 * Brings a set of artifacts into a version directory, as two steps of a transaction: the download, where
 * there is one, and the version itself.
 *
 * Owns what is done before the first byte: what other versions hold already is found, and room for the
 * rest. Nothing that an engine or a sandbox may refer to is touched.
 */
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import { freeSpace, requireSpace } from '../preflight/disk.ts';
import type { Step } from '../transaction/step.ts';
import { DOWNLOAD_LIMITS, download, type DownloadLimits } from './download.ts';
import { fillVersion, type FillOptions } from './fill.ts';
import { needOfArchives, needOfTree } from './need.ts';
import { findReusable, type Reusable } from './reuse.ts';
import { discardPartial, readVersion, removeVersion, versionPath } from './version.ts';

export type { Content } from './fill.ts';

export interface InstallOptions extends Pick<
  FillOptions,
  'host' | 'plan' | 'arch' | 'digest' | 'content' | 'limits'
> {
  readonly downloadLimits?: DownloadLimits;
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
  const isRemote = 'archives' in content && content.archives.some(({ at }) => 'urls' in at);
  return [...(isRemote ? [downloadStep(options, prepare)] : []), versionStep(options, prepare)];
}

/** Throws KATA_E_DISK_SPACE. */
async function prepareInstall({ host, content }: InstallOptions): Promise<Prepared> {
  const wanted = 'archives' in content ? content.archives.map(({ sha256 }) => sha256) : [];
  const reusable = await findReusable(host, wanted);
  const needBytes =
    'archives' in content ? needOfArchives(content.archives, reusable) : needOfTree(content.tree);
  requireSpace(await freeSpace(host, HOST_PATHS.installation), needBytes);
  return { reusable, needBytes };
}

function downloadStep(
  { host, digest, content, downloadLimits = DOWNLOAD_LIMITS }: InstallOptions,
  prepare: () => Promise<Prepared>,
): Step {
  const discard = () => rm(host.at(DOWNLOADS), { recursive: true, force: true });
  const remote = 'archives' in content ? content.archives : [];
  return {
    name: 'Download',
    check: async () => (await readVersion(host, digest)) !== undefined,
    apply: async (signal) => {
      const { reusable, needBytes } = await prepare();
      // Fresh: what an interrupted attempt left is not worth trusting.
      await discard();
      await mkdir(host.at(DOWNLOADS), { recursive: true, mode: 0o700 });
      const requireRoom = async (bytes: number): Promise<void> => {
        requireSpace(await freeSpace(host, HOST_PATHS.installation), needBytes + bytes);
      };
      let bytesWritten = 0;
      for (const { at, sha256 } of remote) {
        if (!('urls' in at) || reusable.archives.has(sha256)) continue;
        const hostFile = downloadedFile(sha256);
        const wanted = { ...at, sha256, file: host.at(hostFile), hostFile, requireRoom };
        await download(wanted, signal, downloadLimits);
        bytesWritten += (await stat(host.at(hostFile))).size;
      }
      return { bytesWritten };
    },
    verify: () => Promise.resolve(),
    undo: discard,
  };
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

function downloadedFile(sha256: string): string {
  return join(DOWNLOADS, sha256);
}
