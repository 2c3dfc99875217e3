/**
 * The steps that put a revision's files in place and let people find the current version.
 *
 * Each remembers what it replaced, so that undo brings back the bytes, and absence, of before.
 */
import { readFile, readlink, rename, rm, rmdir, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import { isDirectory, makeDirectories } from '../host/directories.ts';
import { syncFile, writeHostFile } from '../host/hostFile.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';
import { CURRENT_LINK, readCurrentLink } from '../transaction/installation.ts';
import type { Step } from '../transaction/step.ts';
import type { RevisionContent, RevisionFile } from './handlers.ts';

/** `KataConfiguration`: directories and files of the revision. */
export function configurationStep(host: Host, { directories, files }: RevisionContent): Step {
  const before = new Map<string, { bytes: Buffer; mode: number } | undefined>();
  const madeDirectories: string[] = [];
  const wrong = async (): Promise<string | undefined> => {
    for (const path of directories) if (!(await isDirectory(host, path))) return path;
    for (const file of files) if (!(await isInPlace(host, file))) return file.path;
    return undefined;
  };
  return {
    name: 'KataConfiguration',
    check: async () => (await wrong()) === undefined,
    apply: async () => {
      for (const path of directories) madeDirectories.push(...(await makeDirectories(host, path)));
      let bytesWritten = 0;
      for (const file of files) {
        if (await isInPlace(host, file)) continue;
        before.set(file.path, await readPresent(host, file.path));
        bytesWritten += await write(host, file.path, Buffer.from(file.content), file.mode);
      }
      return { bytesWritten };
    },
    verify: async () => {
      const path = await wrong();
      if (path !== undefined)
        throw new KataError('KATA_E_IO', { path, cause: 'it is not as it was written' });
    },
    undo: async () => {
      for (const [path, present] of before) {
        if (present === undefined) await rm(host.at(path), { force: true });
        else await write(host, path, present.bytes, present.mode);
      }
      for (const path of madeDirectories.toReversed()) await removeEmpty(host, path);
    },
  };
}

/** `CurrentLink`: /opt/kata/current leads to the version. For people only: nothing refers to it. */
export function currentLinkStep(host: Host, digest: string): Step {
  const wanted = `versions/${digest}`;
  let before: string | undefined;
  return {
    name: 'CurrentLink',
    check: async () => (await readlinkIfAny(host)) === wanted || (await isForeign(host)),
    apply: async () => {
      before = await readCurrentLink(host);
      await replaceLink(host, wanted);
      return {};
    },
    verify: () => Promise.resolve(),
    undo: async () => {
      if (before === undefined) await rm(host.at(CURRENT_LINK), { force: true });
      else await replaceLink(host, before);
    },
  };
}

async function isForeign(host: Host): Promise<boolean> {
  if ((await readCurrentLink(host)) !== undefined) return false;
  return (await readlinkIfAny(host)) !== undefined || (await isDirectory(host, CURRENT_LINK));
}

async function readlinkIfAny(host: Host): Promise<string | undefined> {
  return readlink(host.at(CURRENT_LINK)).catch(() => undefined);
}

async function replaceLink(host: Host, target: string): Promise<void> {
  const temporary = join(HOST_PATHS.state, 'current.new');
  try {
    await rm(host.at(temporary), { force: true });
    await symlink(target, host.at(temporary));
    await rename(host.at(temporary), host.at(CURRENT_LINK));
    await syncFile(host.at(HOST_PATHS.installation));
  } catch (error) {
    throw ioError(CURRENT_LINK, error);
  }
}

async function isInPlace(host: Host, { path, content, mode }: RevisionFile): Promise<boolean> {
  const present = await readPresent(host, path);
  return (
    present !== undefined && present.mode === mode && present.bytes.equals(Buffer.from(content))
  );
}

async function readPresent(
  host: Host,
  path: string,
): Promise<{ bytes: Buffer; mode: number } | undefined> {
  try {
    const bytes = await readFile(host.at(path));
    const { mode } = await stat(host.at(path));
    return { bytes, mode: mode & 0o7777 };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw ioError(path, error);
  }
}

async function write(host: Host, path: string, bytes: Buffer, mode: number): Promise<number> {
  await writeHostFile(
    host,
    { path, mode, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    bytes,
  );
  return bytes.length;
}

async function removeEmpty(host: Host, path: string): Promise<void> {
  await rmdir(host.at(path)).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENOTEMPTY') throw ioError(path, error);
  });
}
