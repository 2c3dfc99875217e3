/**
 * The directory /opt/kata: made so that its end can be as if it had never been there, and removed so.
 *
 * Owns which of its parts are ours (versions, revisions, state, the link `current`) and the record of
 * what existed before. It never touches anything else below /opt/kata: another installer may live there.
 */
import { randomBytes } from 'node:crypto';
import { access, lstat, readdir, readlink, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HOST_PATHS } from '../../crds/names.ts';
import { listVersions, removeVersion } from '../artifacts/version.ts';
import { makeDirectories } from '../host/directories.ts';
import { syncFile, writeDurably } from '../host/hostFile.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';
import { EMPTY_STATE, STATE_FILE, type NodeState } from './journal.ts';

export const CURRENT_LINK = join(HOST_PATHS.installation, 'current');

const PARENT = dirname(HOST_PATHS.installation);
const OWN = [HOST_PATHS.versions, HOST_PATHS.revisions, HOST_PATHS.state];
/** Beside /opt/kata, while it is being made or removed. */
const TEMPORARY_PREFIX = '.kata-operator.';

/** Makes what is missing. A directory and the record that it is ours appear together, by one rename. */
export async function prepareInstallation(host: Host): Promise<void> {
  try {
    await removeTemporaries(host);
    await createUnlessThere(host);
    for (const path of OWN) await makeDirectories(host, path);
    await syncFile(host.at(HOST_PATHS.installation));
  } catch (error) {
    throw ioError(HOST_PATHS.installation, error);
  }
}

const MAX_TRIES = 10;
const PAUSE_MS = 50;
/** What it looks like when two runs make it at once: the other has it already, or has cleared away what we had begun. */
const OVERTAKEN: ReadonlySet<string> = new Set(['ENOTEMPTY', 'EEXIST', 'ENOENT']);

/** The lock lies in the directory that is made here, so the first two runs on a host may meet before it. */
async function createUnlessThere(host: Host): Promise<void> {
  for (let tries = 1; !(await exists(host.at(HOST_PATHS.installation))); tries += 1) {
    try {
      await create(host);
    } catch (error) {
      if (tries === MAX_TRIES || !OVERTAKEN.has(errnoOf(error) ?? '')) throw error;
      await removeTemporaries(host);
      await sleep(Math.random() * PAUSE_MS);
    }
  }
}

async function create(host: Host): Promise<void> {
  const created = await makeDirectories(host, PARENT);
  const temporary = join(PARENT, TEMPORARY_PREFIX + randomBytes(6).toString('hex'));
  for (const path of OWN) await makeDirectories(host, within(temporary, path));
  const state: NodeState = { ...EMPTY_STATE, created: [...created, HOST_PATHS.installation] };
  const owner = { mode: 0o600, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  await writeDurably(
    host.at(within(temporary, STATE_FILE)),
    Buffer.from(`${JSON.stringify(state, null, 1)}\n`),
    owner,
  );
  await syncFile(host.at(within(temporary, HOST_PATHS.state)));
  await syncFile(host.at(temporary));
  await rename(host.at(temporary), host.at(HOST_PATHS.installation));
  await syncFile(host.at(PARENT));
}

function within(temporary: string, path: string): string {
  return join(temporary, path.slice(HOST_PATHS.installation.length));
}

/** True when anything of ours is on the host. */
export async function isInstalled(host: Host): Promise<boolean> {
  const found = await Promise.all(OWN.map((path) => exists(host.at(path))));
  return found.includes(true) || (await temporaries(host)).length > 0;
}

/**
 * Removes everything of ours; the state last. A directory that we made and that is empty then goes with
 * it, by one rename, so that a crash cannot leave it without the record that it was ours.
 */
export async function removeInstallation(host: Host, created: readonly string[]): Promise<void> {
  try {
    await removeTemporaries(host);
    await clearInstallation(host);
    if (created.includes(HOST_PATHS.installation) && (await holdsOnly(host, 'state'))) {
      await rename(
        host.at(HOST_PATHS.installation),
        host.at(join(PARENT, `${TEMPORARY_PREFIX}removed`)),
      );
      await removeTemporaries(host);
    } else {
      await rm(host.at(HOST_PATHS.state), { recursive: true, force: true });
    }
    if (created.includes(PARENT)) await removeIfEmpty(host.at(PARENT));
    if (await exists(host.at(PARENT))) await syncFile(host.at(PARENT));
  } catch (error) {
    throw ioError(HOST_PATHS.installation, error);
  }
}

/** All but the state: versions, revisions and the link. A version is never seen with a part of its files under its name. */
export async function clearInstallation(host: Host): Promise<void> {
  await removeCurrentLink(host);
  await rm(host.at(HOST_PATHS.revisions), { recursive: true, force: true });
  for (const { digest } of await listVersions(host)) await removeVersion(host, digest);
  await rm(host.at(HOST_PATHS.versions), { recursive: true, force: true });
}

/** Only a link that points to one of our versions is ours. */
export async function readCurrentLink(host: Host): Promise<string | undefined> {
  const target = await readlink(host.at(CURRENT_LINK)).catch(() => undefined);
  return target?.startsWith('versions/') === true ? target : undefined;
}

async function removeCurrentLink(host: Host): Promise<void> {
  if ((await readCurrentLink(host)) !== undefined) await rm(host.at(CURRENT_LINK), { force: true });
}

async function holdsOnly(host: Host, name: string): Promise<boolean> {
  const names = await readdir(host.at(HOST_PATHS.installation));
  return names.every((found) => found === name);
}

async function temporaries(host: Host): Promise<string[]> {
  const names = await readdir(host.at(PARENT)).catch(() => []);
  return names
    .filter((name) => name.startsWith(TEMPORARY_PREFIX))
    .map((name) => join(PARENT, name));
}

async function removeTemporaries(host: Host): Promise<void> {
  for (const path of await temporaries(host))
    await rm(host.at(path), { recursive: true, force: true });
}

async function removeIfEmpty(at: string): Promise<void> {
  await rmdir(at).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'EBUSY')
      throw error;
  });
}

async function exists(at: string): Promise<boolean> {
  return access(at).then(
    () => true,
    async () =>
      lstat(at).then(
        () => true,
        () => false,
      ),
  );
}
