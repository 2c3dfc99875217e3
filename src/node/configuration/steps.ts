/**
 * The steps that put a revision's files in place and let people find the current version.
 *
 * What each replaces is in its intent, so that any process can bring back the bytes, and absence, of before.
 */
import { readFile, readlink, rename, rm, rmdir, stat, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import { isDirectory, makeDirectories } from '../host/directories.ts';
import { syncFile, temporaryPath, writeHostFile } from '../host/hostFile.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';
import { CURRENT_LINK, readCurrentLink } from '../transaction/installation.ts';
import { UNDO_DIRECTORY } from '../transaction/journal.ts';
import type { Step } from '../transaction/step.ts';
import type { RevisionContent, RevisionFile } from './handlers.ts';

/** Where the link lies until it takes its place. */
const NEW_LINK = join(HOST_PATHS.state, 'current.new');

/** What KataConfiguration replaces: directories that it will make, and files with the copy of each that was there. */
const configurationIntent = z.object({
  directories: z.array(z.string()),
  files: z.array(
    z.object({
      path: z.string(),
      before: z.object({ copy: z.string(), mode: z.int() }).optional(),
    }),
  ),
});
type ConfigurationIntent = z.infer<typeof configurationIntent>;

/** `KataConfiguration`: directories and files of the revision. */
export function configurationStep(host: Host, { directories, files }: RevisionContent): Step {
  const wrong = async (): Promise<string | undefined> => {
    for (const path of directories) if (!(await isDirectory(host, path))) return path;
    for (const file of files) if (!(await isInPlace(host, file))) return file.path;
    return undefined;
  };
  return {
    name: 'KataConfiguration',
    check: async () => (await wrong()) === undefined,
    intent: async () => ({
      directories: await missingDirectories(host, directories),
      files: await copiesOf(host, files),
    }),
    apply: async () => {
      for (const path of directories) await makeDirectories(host, path);
      let bytesWritten = 0;
      for (const file of files)
        if (!(await isInPlace(host, file)))
          bytesWritten += await write(host, file.path, Buffer.from(file.content), file.mode);
      return { bytesWritten };
    },
    verify: async () => {
      const path = await wrong();
      if (path !== undefined)
        throw new KataError('KATA_E_IO', { path, cause: 'it is not as it was written' });
    },
    undo: async (_signal, intent) => {
      await putBack(host, configurationIntent.parse(intent));
    },
  };
}

async function putBack(host: Host, intent: ConfigurationIntent): Promise<void> {
  try {
    for (const { path, before } of intent.files) {
      await rm(host.at(temporaryPath(path)), { force: true });
      if (before === undefined) await rm(host.at(path), { force: true });
      else await write(host, path, await readFile(host.at(before.copy)), before.mode);
    }
  } catch (error) {
    throw ioError(HOST_PATHS.revisions, error);
  }
  for (const path of intent.directories.toReversed()) await removeEmpty(host, path);
}

/** Outermost first. */
async function missingDirectories(host: Host, directories: readonly string[]): Promise<string[]> {
  const missing = new Set<string>();
  for (const directory of directories) {
    const chain: string[] = [];
    for (let at = directory; at !== '/' && !(await isDirectory(host, at)); at = dirname(at))
      chain.unshift(at);
    for (const path of chain) missing.add(path);
  }
  return [...missing];
}

/** Of every file that will be replaced, a copy that outlives this process. */
async function copiesOf(
  host: Host,
  files: readonly RevisionFile[],
): Promise<ConfigurationIntent['files']> {
  const found: ConfigurationIntent['files'] = [];
  for (const [index, file] of files.entries()) {
    if (await isInPlace(host, file)) continue;
    const present = await readPresent(host, file.path);
    if (present === undefined) {
      found.push({ path: file.path });
      continue;
    }
    const copy = join(UNDO_DIRECTORY, `${index}`);
    await makeDirectories(host, UNDO_DIRECTORY, 0o700);
    await write(host, copy, present.bytes, 0o600);
    found.push({ path: file.path, before: { copy, mode: present.mode } });
  }
  return found;
}

const linkIntent = z.object({ before: z.string().optional() });

/** `CurrentLink`: /opt/kata/current leads to the version. For people only: nothing refers to it. */
export function currentLinkStep(host: Host, digest: string): Step {
  const wanted = `versions/${digest}`;
  return {
    name: 'CurrentLink',
    check: async () => (await readlinkIfAny(host)) === wanted || (await isForeign(host)),
    intent: async () => {
      const before = await readCurrentLink(host);
      return before === undefined ? {} : { before };
    },
    apply: async () => {
      await replaceLink(host, wanted);
      return {};
    },
    verify: () => Promise.resolve(),
    undo: async (_signal, intent) => {
      const { before } = linkIntent.parse(intent);
      await rm(host.at(NEW_LINK), { force: true });
      // It may never have come as far: what is there is only ours to take when it leads to our version.
      if (before !== undefined) await replaceLink(host, before);
      else if ((await readlinkIfAny(host)) === wanted)
        await rm(host.at(CURRENT_LINK), { force: true });
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
  try {
    await rm(host.at(NEW_LINK), { force: true });
    await symlink(target, host.at(NEW_LINK));
    await rename(host.at(NEW_LINK), host.at(CURRENT_LINK));
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
