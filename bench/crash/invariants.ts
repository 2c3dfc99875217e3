/**
 * What must be true of a host, whatever was interrupted: at once after the interruption, after the next run, and
 * after removal. Each returns what is wrong in words; nothing when all is well.
 */
import { createHash } from 'node:crypto';
import { lstat, readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { CrashHost } from './host.ts';

/** Path → kind, mode, owner and content. */
export type Snapshot = Readonly<Record<string, string>>;

export interface KnownState {
  /** All files that the engine reads. */
  readonly config: string;
  /** Kata's handlers that the engine serves. */
  readonly handlers: readonly string[];
  /** Files of the revision that is served, and the link for people. */
  readonly served: Snapshot;
}

const INSTALLATION = 'opt/kata';

const manifest = z.object({
  entries: z.array(
    z.looseObject({ path: z.string(), sha256: z.string().optional(), type: z.string().optional() }),
  ),
});

const state = z.looseObject({ transaction: z.unknown().optional() });

/** Everything below the directories that an installer may change. */
export async function snapshotOf(root: string): Promise<Snapshot> {
  const found: Record<string, string> = {};
  for (const at of ['etc', 'opt', 'var']) Object.assign(found, await below(root, at));
  return found;
}

async function below(root: string, at: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of (await readdir(join(root, at))).sort()) {
    const path = join(at, name);
    const stats = await lstat(join(root, path));
    const owned = `${(stats.mode & 0o7777).toString(8)} ${stats.uid}:${stats.gid}`;
    if (stats.isDirectory()) Object.assign(found, { [path]: owned }, await below(root, path));
    else if (stats.isSymbolicLink()) found[path] = `-> ${await readlink(join(root, path))}`;
    else found[path] = `${owned} ${sha256(await readFile(join(root, path)))}`;
  }
  return found;
}

function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Of a snapshot, what the engine reads as its configuration. */
function configOf(snapshot: Snapshot, { machine }: CrashHost): string {
  return Object.entries(snapshot)
    .filter(([path]) => machine.reads.test(path))
    .map(([path, content]) => `${path} ${content}`)
    .join('\n');
}

async function pathsInConfig({ root, machine }: CrashHost, snapshot: Snapshot): Promise<string[]> {
  const paths: string[] = [];
  for (const path of Object.keys(snapshot).filter((name) => machine.reads.test(name))) {
    const text = await readFile(join(root, path), 'utf8');
    paths.push(...[...text.matchAll(/"(\/opt\/kata\/[^"]+)"/g)].map((match) => match[1] ?? ''));
  }
  return paths;
}

/** True in every instant: also while a run is under way, and right after it was killed. */
export async function wrongAtAnyInstant(
  host: CrashHost,
  allowedConfigs: readonly string[],
): Promise<string[]> {
  const snapshot = await snapshotOf(host.root);
  const loaded = Object.values(host.engine.loaded ?? {}).map(({ shimPath }) => shimPath);
  const referenced = await pathsInConfig(host, snapshot);
  return [
    ...(allowedConfigs.includes(configOf(snapshot, host))
      ? []
      : ['the configuration is neither the old nor the new one']),
    ...[...new Set([...referenced, ...loaded.filter((path) => path.startsWith('/opt/kata/'))])]
      .filter((path) => snapshot[path.slice(1)] === undefined)
      .map((path) => `the engine refers to ${path}, which is not there`),
    ...(await halfVersions(host.root, snapshot)),
  ];
}

/** A directory below versions/ that is not named .partial holds every file of its manifest. */
async function halfVersions(root: string, snapshot: Snapshot): Promise<string[]> {
  const versions = join(INSTALLATION, 'versions');
  const names = await readdir(join(root, versions)).catch(() => []);
  const wrong: string[] = [];
  for (const name of names.filter((found) => !found.endsWith('.partial'))) {
    const text = await readFile(join(root, versions, name, '.complete'), 'utf8').catch(() => '{}');
    const parsed = manifest.safeParse(JSON.parse(text));
    if (!parsed.success) {
      wrong.push(`version ${name} has no manifest`);
      continue;
    }
    for (const entry of parsed.data.entries) {
      const found = snapshot[join(versions, name, entry.path)];
      if (found === undefined) wrong.push(`version ${name} misses ${entry.path}`);
      else if (entry.sha256 !== undefined && !found.endsWith(entry.sha256))
        wrong.push(`version ${name} has another ${entry.path}`);
    }
  }
  return wrong;
}

/** After a run that ended well: exactly one of the known states, and nothing left over. */
export async function wrongAfterRun(
  host: CrashHost,
  wanted: KnownState,
  clean: Snapshot,
): Promise<string[]> {
  const { root, engine } = host;
  const snapshot = await snapshotOf(root);
  const served = kataHandlers(engine);
  const differing = Object.entries(wanted.served).filter(
    ([path, content]) => snapshot[path] !== content,
  );
  return [
    ...(await wrongAtAnyInstant(host, [wanted.config])),
    ...(engine.loaded === undefined ? ['the engine is down'] : []),
    ...(served.join() === wanted.handlers.join()
      ? []
      : [`the engine serves ${served.join() || 'nothing'}, not ${wanted.handlers.join()}`]),
    ...differing.map(([path]) => `${path} is not as it should be`),
    ...leftovers(host, clean, snapshot),
    ...(await openTransaction(root)),
  ];
}

function kataHandlers({ loaded }: CrashHost['engine']): string[] {
  return Object.keys(loaded ?? {})
    .filter((handler) => handler.startsWith('kata'))
    .toSorted();
}

const ALLOWED = [
  /^opt\/kata$/,
  /^opt\/kata\/(versions|revisions|state)$/,
  /^opt\/kata\/versions\/[0-9a-f]+(\/.*)?$/,
  /^opt\/kata\/revisions\/r[12](\/kata-(fc|qemu)(\/(configuration\.toml|config\.d|bin(\/[a-z0-9_-]+)?))?)?$/,
  /^opt\/kata\/current$/,
  /^opt\/kata\/state\/(state\.json|lock|config\.toml\.kata\.before)$/,
];

/** What the engine reads is looked at as a whole, with the directories that lead there. */
function leftovers({ machine }: CrashHost, clean: Snapshot, snapshot: Snapshot): string[] {
  const read = Object.keys(snapshot).filter((path) => machine.reads.test(path));
  return Object.keys(snapshot)
    .filter((path) => clean[path] === undefined)
    .filter((path) => !ALLOWED.some((pattern) => pattern.test(path)))
    .filter((path) => !read.some((file) => file === path || file.startsWith(`${path}/`)))
    .map((path) => `${path} was left over`);
}

async function openTransaction(root: string): Promise<string[]> {
  const text = await readFile(join(root, INSTALLATION, 'state/state.json'), 'utf8').catch(
    () => '{}',
  );
  return state.parse(JSON.parse(text)).transaction === undefined
    ? []
    : ['the journal has a transaction that has not ended'];
}

/** What of a state must be found again: of the installation, only what the engine refers to. */
export function knownState(
  snapshot: Snapshot,
  host: CrashHost,
  revision: string | undefined,
): KnownState {
  const served = Object.entries(snapshot).filter(
    ([path]) =>
      path === `${INSTALLATION}/current` ||
      (revision !== undefined && path.startsWith(`${INSTALLATION}/revisions/${revision}/`)),
  );
  return {
    config: configOf(snapshot, host),
    handlers: kataHandlers(host.engine),
    served: Object.fromEntries(served),
  };
}

/** After removal: byte for byte as it was before the first run. */
export function wrongAfterRemoval(before: Snapshot, after: Snapshot): string[] {
  const paths = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...paths]
    .filter((path) => before[path] !== after[path])
    .map((path) =>
      before[path] === undefined
        ? `${path} was left over`
        : after[path] === undefined
          ? `${path} is gone`
          : `${path} was changed`,
    );
}
