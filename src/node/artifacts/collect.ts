/**
 * Gives back the room of versions and revisions that nothing refers to any more.
 *
 * To be called with the host's lock held, after an activation that ended well. It never touches what is in use or what
 * the state leads to, and nothing at all when it cannot tell. What is to go loses its name first, all of it at once and
 * durably, so that no half of it is ever seen; the next collection ends what this one cannot.
 */
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import { toKataError, type KataError } from '../../errors.ts';
import { removeTree } from '../host/directories.ts';
import { syncFile } from '../host/hostFile.ts';
import { ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';
import type { NamedRevision } from '../transaction/state.ts';
import { takeInventory, type Kept } from './inventory.ts';
import { PARTIAL } from './version.ts';

export interface Collected {
  /** Paths on the host that are gone. */
  readonly removed: readonly string[];
  /** Paths of which only the name is gone, since there was no time for more. */
  readonly left: readonly string[];
  /** What could not be looked at; then nothing is given up. */
  readonly unreadable: readonly string[];
  /** What could not be removed, though there was time. */
  readonly failures: readonly KataError[];
}

export interface CollectOptions {
  readonly host: Host;
  /** What the state leads to. */
  readonly named: readonly NamedRevision[];
  readonly signal: AbortSignal;
  /** When it is aborted, what is left is left. */
  readonly deadline: AbortSignal;
}

/** Throws KATA_E_IO, and the reason of `signal` or `deadline`, only as long as nothing was changed. */
export async function collect(options: CollectOptions): Promise<Collected> {
  const { host, named, signal } = options;
  const deadline = AbortSignal.any([signal, options.deadline]);
  const { versions, revisions, leftovers, unreadable } = await takeInventory(host, named, deadline);
  const unused = (all: readonly Kept[], parent: string): string[] =>
    all.filter(({ keptFor }) => keptFor.length === 0).map(({ name }) => join(parent, name));
  const given =
    unreadable.length > 0
      ? []
      : [...unused(revisions, HOST_PATHS.revisions), ...unused(versions, HOST_PATHS.versions)];
  deadline.throwIfAborted();
  const failures: KataError[] = [];
  const going = [...new Set([...leftovers, ...(await giveUp(host, given, failures))])];
  const removed: string[] = [];
  for (const path of going) {
    const error = await removeTree(host, path, deadline).then(() => undefined, toKataError);
    if (deadline.aborted) break;
    if (error === undefined) removed.push(path);
    else failures.push(error);
  }
  const left = going.filter((path) => !removed.includes(path));
  return { removed, left, unreadable, failures };
}

/** From here on they are leftovers. Returns their new paths. */
async function giveUp(
  host: Host,
  paths: readonly string[],
  failures: KataError[],
): Promise<string[]> {
  const aside: string[] = [];
  for (const path of paths) {
    try {
      // An interrupted run may have left one of the same name.
      await rm(host.at(path + PARTIAL), { recursive: true, force: true });
      await rename(host.at(path), host.at(path + PARTIAL));
      aside.push(path + PARTIAL);
    } catch (error) {
      failures.push(ioError(path, error));
    }
  }
  try {
    for (const parent of new Set(aside.map((path) => dirname(path))))
      await syncFile(host.at(parent));
    return aside;
  } catch (error) {
    // After a power loss they may have their names again: then they must be whole.
    failures.push(ioError(HOST_PATHS.installation, error));
    return [];
  }
}
