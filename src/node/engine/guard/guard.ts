/**
 * The guard: restores the engine's configuration and restarts the engine when a change of it was neither confirmed
 * nor taken back, because this process, its container or the whole host went away in between.
 *
 * Armed before the file changes, disarmed when the engine was seen to serve, or when the old file is back. It lies
 * in /etc/systemd/system and survives a reboot. No daemon-reload: systemd reads a unit file that is new by itself,
 * and reloading on a node with hundreds of Pods has side effects of its own (device rules of running containers).
 */
import { lstat, mkdir, readFile, readdir, rm, rmdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HOST_PATHS } from '../../../crds/names.ts';
import { makeDirectories } from '../../host/directories.ts';
import type { Host } from '../../host/host.ts';
import { isMissing, syncFile, writeDurably } from '../../host/hostFile.ts';
import { ioError } from '../../host/ioError.ts';
import { resetUnit, restartTimer, stopUnit } from '../../host/systemd.ts';
import {
  MADE_WANTS,
  RESTARTED,
  SAVED,
  SCRIPT,
  guardScript,
  watchedBy,
  type GuardedFile,
  type GuardPlaces,
} from './script.ts';
import { serviceUnit, timerUnit } from './units.ts';

/** What stands ready to restore the file. */
export interface Guard {
  /**
   * Makes it stand ready for this change. One that watches over the very same stays as it is; of one whose change is what
   * this one starts from, the bytes stay: they were confirmed. Any other says nothing about the file any more.
   */
  arm(file: GuardedFile, before: Buffer | undefined, signal: AbortSignal): Promise<void>;
  /** From here on the engine may run with the changed file. */
  markRestart(): Promise<void>;
  /** Takes everything of it away, also what an interrupted run has left. */
  disarm(signal: AbortSignal): Promise<void>;
  /** True when nothing of it is on the host. Never writes. */
  isGone(): Promise<boolean>;
  /** The target whose change was taken back by the timer since the last call. */
  takeNote(): Promise<string | undefined>;
}

/** For an engine that this process does not restart through systemd. */
export const NO_GUARD: Guard = {
  arm: () => Promise.resolve(),
  markRestart: () => Promise.resolve(),
  disarm: () => Promise.resolve(),
  isGone: () => Promise.resolve(true),
  takeNote: () => Promise.resolve(undefined),
};

/** Where units of the administrator lie, and those of the guard. */
export const UNITS = '/etc/systemd/system';
const WANTS = `${UNITS}/multi-user.target.wants`;
export const GUARD_SERVICE = 'kata-operator-restore.service';
export const GUARD_TIMER = 'kata-operator-restore.timer';
const LINK = `${WANTS}/${GUARD_SERVICE}`;

const PLACES: GuardPlaces = {
  directory: join(HOST_PATHS.state, 'restore'),
  service: GUARD_SERVICE,
  timer: GUARD_TIMER,
  wants: WANTS,
  unitFiles: [LINK, `${UNITS}/${GUARD_SERVICE}`, `${UNITS}/${GUARD_TIMER}`],
  lock: join(HOST_PATHS.state, 'lock'),
  note: join(HOST_PATHS.state, 'restored-by-guard'),
};

const SYSTEMD_TIMEOUT_MS = 30_000;
const OWNER = { uid: 0, gid: 0 };

export function systemdGuard(host: Host): Guard {
  return {
    arm: async (file, before, signal) => {
      const standing = await standingGuard(host);
      if (!watchesOver(standing, file)) {
        if (standing !== undefined) await removeFiles(host);
        await writeGuard(host, successorOf(standing, { file, before, restarted: false }));
      }
      try {
        await restartTimer(host, GUARD_TIMER, SYSTEMD_TIMEOUT_MS, signal);
      } catch (error) {
        // Nothing is changed yet, so nothing may stay that would be taken for a change under way.
        if (standing === undefined) await removeFiles(host);
        throw error;
      }
    },
    markRestart: async () => {
      // Not flushed: after a power loss the engine starts anyway, with the restored file.
      if (await exists(host, LINK))
        await writeFile(host.at(join(PLACES.directory, RESTARTED)), '').catch(() => undefined);
    },
    disarm: (signal) => disarm(host, signal),
    isGone: () => isGone(host),
    takeNote: async () => {
      const at = host.at(PLACES.note);
      const target = await readFile(at, 'utf8').catch(() => undefined);
      if (target !== undefined) await rm(at, { force: true });
      return target?.trim();
    },
  };
}

/** What a guard holds. */
interface Held {
  readonly file: GuardedFile;
  /** Undefined: there was no file. */
  readonly before: Buffer | undefined;
  /** The engine may run with the changed file. */
  readonly restarted: boolean;
}

type Standing = Omit<Held, 'file'> & { readonly watched: ReturnType<typeof watchedBy> };

/** Undefined when none would act. Of one that cannot be understood, `watched` is undefined. */
async function standingGuard(host: Host): Promise<Standing | undefined> {
  if (!(await exists(host, LINK))) return undefined;
  const { directory } = PLACES;
  const read = (name: string): Promise<Buffer | undefined> =>
    readFile(host.at(join(directory, name))).catch(() => undefined);
  const script = await read(SCRIPT);
  return {
    watched: script === undefined ? undefined : watchedBy(script.toString('utf8')),
    before: await read(SAVED),
    restarted: await exists(host, join(directory, RESTARTED)),
  };
}

function watchesOver(standing: Standing | undefined, file: GuardedFile): boolean {
  const watched = standing?.watched;
  return (
    watched !== undefined &&
    watched.beforeSha256 === file.beforeSha256 &&
    watched.afterSha256 === file.afterSha256
  );
}

/** A change that begins where one ends that nobody has confirmed: both are taken back in one. */
function successorOf(standing: Standing | undefined, wanted: Held): Held {
  const watched = standing?.watched;
  if (watched === undefined || watched.afterSha256 !== wanted.file.beforeSha256) return wanted;
  const { beforeSha256: _unconfirmed, ...file } = wanted.file;
  const { beforeSha256 } = watched;
  return {
    file: beforeSha256 === undefined ? file : { ...file, beforeSha256 },
    before: beforeSha256 === undefined ? undefined : standing?.before,
    restarted: standing?.restarted === true,
  };
}

/** The link comes last: with it, the host restores the file at its next start. */
async function writeGuard(host: Host, { file, before, restarted }: Held): Promise<void> {
  const { directory, service, timer } = PLACES;
  const put = (path: string, text: string | Buffer, mode: number): Promise<void> =>
    writeDurably(host.at(path), Buffer.from(text), { ...OWNER, mode });
  try {
    // On a host where nothing was ever enabled it is missing; or an interrupted run has made it.
    const makesWants =
      !(await exists(host, WANTS)) || (await exists(host, join(directory, MADE_WANTS)));
    await mkdir(host.at(directory), { recursive: true, mode: 0o700 });
    for (const name of await readdir(host.at(directory)))
      if (name !== MADE_WANTS) await rm(host.at(join(directory, name)), { recursive: true });
    // That it is ours to remove is on disk before it is there.
    if (makesWants) await put(join(directory, MADE_WANTS), '', 0o600);
    await makeDirectories(host, WANTS);
    if (before !== undefined) await put(join(directory, SAVED), before, 0o600);
    if (restarted) await put(join(directory, RESTARTED), '', 0o600);
    await put(join(directory, SCRIPT), guardScript(file, PLACES), 0o700);
    await syncFile(host.at(directory));
    await syncFile(host.at(HOST_PATHS.state));
    await put(join(UNITS, service), serviceUnit(file, PLACES), 0o644);
    await put(join(UNITS, timer), timerUnit(PLACES), 0o644);
    await symlink(`../${service}`, host.at(LINK));
    await syncFile(host.at(WANTS));
    await syncFile(host.at(UNITS));
  } catch (error) {
    // Not flushed: a disk that refuses that must not keep the rest from going.
    await removeFiles(host, () => Promise.resolve()).catch(() => undefined);
    await rm(host.at(directory), { recursive: true, force: true }).catch(() => undefined);
    throw ioError(join(UNITS, service), error);
  }
}

async function disarm(host: Host, signal: AbortSignal): Promise<void> {
  if (await isGone(host)) return;
  await stopUnit(host, GUARD_TIMER, SYSTEMD_TIMEOUT_MS, signal);
  try {
    await removeFiles(host);
  } catch (error) {
    throw ioError(LINK, error);
  }
  await resetUnit(host, GUARD_SERVICE, SYSTEMD_TIMEOUT_MS, signal);
}

async function isGone(host: Host): Promise<boolean> {
  const parts = [...PLACES.unitFiles, PLACES.directory];
  const present = await Promise.all(parts.map((path) => exists(host, path)));
  return !present.includes(true);
}

/**
 * The link first, durably: what is left of the rest then does nothing. The mark that we made its directory goes
 * after that directory.
 */
async function removeFiles(host: Host, flush = syncFile): Promise<void> {
  for (const path of PLACES.unitFiles) await rm(host.at(path), { force: true });
  await flush(host.at(WANTS)).catch(ignoreMissing);
  if (await exists(host, join(PLACES.directory, MADE_WANTS)))
    await rmdir(host.at(WANTS)).catch(() => undefined);
  await flush(host.at(UNITS)).catch(ignoreMissing);
  await rm(host.at(PLACES.directory), { recursive: true, force: true });
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

async function exists(host: Host, path: string): Promise<boolean> {
  return lstat(host.at(path)).then(
    () => true,
    () => false,
  );
}
