/**
 * Which versions and revisions lie on the host, and what each is kept for: the state leads to it, something runs from
 * it, or a revision that stays is configured for it.
 *
 * Only reads. What `status` shows and what is collected come from here, so that they are the same.
 */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import type { Host } from '../host/host.ts';
import { isMissing } from '../host/hostFile.ts';
import { ioError } from '../host/ioError.ts';
import type { NamedRevision } from '../transaction/state.ts';
import { PARTIAL } from './version.ts';
import { describeUsers, findUses, versionsIn, type Uses } from './versionUse.ts';

export interface Kept {
  /** Digest of a version, name of a revision. */
  readonly name: string;
  /** For people and programs: `active`, `previous`, `used by qemu-system-x86_64 (pid 4711)`. Empty: for nothing. */
  readonly keptFor: readonly string[];
}

export interface Inventory {
  readonly versions: readonly Kept[];
  readonly revisions: readonly Kept[];
  /** What an interrupted run, or a collection that had to end, has left: paths on the host. */
  readonly leftovers: readonly string[];
  /** What could not be looked at, as paths on the host: then nobody can tell that something is kept for nothing. */
  readonly unreadable: readonly string[];
}

const DIGEST = /^[0-9a-f]{20}$/;
const CONFIGURATION_DEPTH = 4;
const NOTHING_USED: Uses = { versions: new Map(), revisions: new Map(), unreadable: [] };

/**
 * `named` is what the state leads to. Unless what is used is `known`, processes are asked only when the state does not
 * lead to everything. Throws KATA_E_IO.
 */
export async function takeInventory(
  host: Host,
  named: readonly NamedRevision[],
  signal: AbortSignal,
  known?: Uses,
): Promise<Inventory> {
  const isNamed = (name: string): boolean => named.some(({ revision }) => revision === name);
  const versions = await namesIn(host, HOST_PATHS.versions);
  const revisions = await namesIn(host, HOST_PATHS.revisions);
  const isLeft = (name: string): boolean => name.endsWith(PARTIAL) && !isNamed(name);
  const found: Found = {
    versions: versions.filter((name) => DIGEST.test(name)),
    revisions: revisions.filter((name) => !isLeft(name)),
    roles: rolesOf(named),
  };
  const leftovers = [
    ...versions.filter(isLeft).map((name) => join(HOST_PATHS.versions, name)),
    ...revisions.filter(isLeft).map((name) => join(HOST_PATHS.revisions, name)),
  ];
  const { roles } = found;
  const isAllNamed =
    found.versions.every((digest) => roles.versions.has(digest)) &&
    found.revisions.every((name) => roles.revisions.has(name));
  // Then nothing else has to be known, and a host on which nothing is to be done is asked for nothing.
  const uses =
    known ??
    (isAllNamed ? NOTHING_USED : await findUses(host, signal, (so) => isAllUsed(found, so)));
  const kept = await keptRevisions(host, found, uses, isAllNamed);
  return {
    versions: found.versions.map((name) => ({
      name,
      keptFor: [
        ...(roles.versions.get(name) ?? []),
        ...usersOf(uses.versions, name),
        ...(roles.versions.has(name) || uses.versions.has(name) ? [] : configuredBy(kept, name)),
      ],
    })),
    revisions: kept,
    leftovers,
    unreadable: uses.unreadable,
  };
}

interface Found {
  readonly versions: readonly string[];
  readonly revisions: readonly string[];
  readonly roles: Roles;
}

interface Roles {
  readonly versions: ReadonlyMap<string, readonly string[]>;
  readonly revisions: ReadonlyMap<string, readonly string[]>;
}

function rolesOf(named: readonly NamedRevision[]): Roles {
  const versions = new Map<string, string[]>();
  const revisions = new Map<string, string[]>();
  for (const { role, revision, digest } of named) {
    versions.set(digest, [...(versions.get(digest) ?? []), role]);
    revisions.set(revision, [...(revisions.get(revision) ?? []), role]);
  }
  return { versions, revisions };
}

/** What is looked for first has shown that every version has to stay; a revision may go all the same. */
function isAllUsed({ versions, revisions, roles }: Found, uses: Uses): boolean {
  return (
    versions.every((digest) => roles.versions.has(digest) || uses.versions.has(digest)) &&
    revisions.every((name) => roles.revisions.has(name) || uses.revisions.has(name))
  );
}

function usersOf(uses: Uses['versions'], name: string): string[] {
  return describeUsers(uses.get(name) ?? []).map((user) => `used by ${user}`);
}

type KeptRevision = Kept & { readonly digests: ReadonlySet<string> };

/**
 * A version from which something still runs keeps the configuration it was started with, which no process shows.
 * Of a version that the state leads to, only what the state names stays: else every revision of it would.
 */
async function keptRevisions(
  host: Host,
  { revisions, roles }: Found,
  uses: Uses,
  isAllNamed: boolean,
): Promise<KeptRevision[]> {
  const kept: KeptRevision[] = [];
  for (const name of revisions) {
    const directory = join(HOST_PATHS.revisions, name);
    const digests = isAllNamed ? new Set<string>() : await configuredFor(host, directory);
    const running = [...digests].filter(
      (digest) => uses.versions.has(digest) && !roles.versions.has(digest),
    );
    const keptFor = [
      ...(roles.revisions.get(name) ?? []),
      ...usersOf(uses.revisions, name),
      ...running.map((digest) => `configuration of version ${digest}, which is used`),
    ];
    kept.push({ name, keptFor, digests });
  }
  return kept;
}

function configuredBy(revisions: readonly KeptRevision[], version: string): string[] {
  return revisions
    .filter(({ keptFor, digests }) => keptFor.length > 0 && digests.has(version))
    .map(({ name }) => `configuration of revision ${name}`);
}

/** The versions that its files name. Never through a link. Throws KATA_E_IO. */
async function configuredFor(
  host: Host,
  directory: string,
  depth = CONFIGURATION_DEPTH,
): Promise<Set<string>> {
  const digests = new Set<string>();
  try {
    for (const entry of await readdir(host.at(directory), { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isFile())
        for (const digest of versionsIn(await readFile(host.at(path), 'latin1')))
          digests.add(digest);
      else if (entry.isDirectory() && depth > 1)
        for (const digest of await configuredFor(host, path, depth - 1)) digests.add(digest);
    }
  } catch (error) {
    // A run that holds the lock may be collecting it, while this one only looks.
    if (!isMissing(error)) throw ioError(directory, error);
  }
  return digests;
}

/** Empty when there is no such directory. Throws KATA_E_IO. */
async function namesIn(host: Host, directory: string): Promise<string[]> {
  try {
    return (await readdir(host.at(directory))).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw ioError(directory, error);
  }
}
