/**
 * Archives for the benchmark of the artifacts: the stand-in release in its real size, 1.08 GB in about 900
 * files, as eight component archives of like size, and one of them once more with other contents.
 */
import { access, link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CACHE } from '../../e2e/cluster/paths.ts';
import type { Progress } from '../../e2e/cluster/progress.ts';
import { writeArchive, type Entry } from '../../e2e/standin/archive.ts';
import { buildStandins } from '../../e2e/standin/build.ts';
import { archiveTree } from '../../e2e/standin/tree.ts';

const COMPONENTS = 8;
const FILES = 900;
const DIRECTORY = join(CACHE, 'bench/artifacts');
/** To be raised when what is packed changes. */
const FORMAT = '2';

export interface Bundle {
  /** With index.json, as in the node image. */
  readonly directory: string;
  readonly archives: readonly string[];
  readonly unpackedBytes: number;
}

export interface BenchArchives {
  readonly first: Bundle;
  /** As `first`, with one archive changed in all of its files. */
  readonly second: Bundle;
  readonly changedBytes: number;
}

interface Indexed {
  readonly file: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly unpackedBytes: number;
}

/** Packs them once. */
export async function benchArchives(progress: Progress): Promise<BenchArchives> {
  const done = join(DIRECTORY, `packed-${FORMAT}.json`);
  const packed = await access(done).then(
    () => true,
    () => false,
  );
  if (!packed) {
    await progress.step('pack eight component archives', async () => {
      await rm(DIRECTORY, { recursive: true, force: true });
      await mkdir(DIRECTORY, { recursive: true });
      await writeFile(done, JSON.stringify(await packAll(progress)));
    });
  }
  return JSON.parse(await readFile(done, 'utf8')) as BenchArchives;
}

async function packAll(progress: Progress): Promise<BenchArchives> {
  const groups = grouped(await releaseEntries(progress));
  const originals: Indexed[] = [];
  for (const [index, entries] of groups.entries())
    originals.push(await pack(`component-${index}`, entries));
  // The one in which most changes, but for the largest, which holds the guest image.
  const changes = groups.map((entries) => sum(entries.filter((entry) => change(entry) !== entry)));
  const victim = changes.indexOf(changes.toSorted((a, b) => b - a)[1] ?? 0);
  const changed = await pack(`component-${victim}-changed`, (groups[victim] ?? []).map(change));
  return {
    first: await writeIndex('first', originals),
    second: await writeIndex('second', originals.with(victim, changed)),
    changedBytes: changes[victim] ?? 0,
  };
}

async function pack(name: string, entries: readonly Entry[]): Promise<Indexed> {
  const file = join(DIRECTORY, `${name}.tar.zst`);
  return { file, ...(await writeArchive(file, './opt/kata/', entries)) };
}

async function writeIndex(name: string, archives: readonly Indexed[]): Promise<Bundle> {
  const directory = join(DIRECTORY, name);
  await mkdir(directory);
  const index = archives.map(({ file, ...rest }) => ({ file: basename(file), ...rest }));
  // Both bundles share seven of them.
  for (const { file } of archives) await link(file, join(directory, basename(file)));
  await writeFile(join(directory, 'index.json'), JSON.stringify({ archives: index }));
  return {
    directory,
    archives: archives.map(({ file }) => file),
    unpackedBytes: archives.reduce((sum, { unpackedBytes }) => sum + unpackedBytes, 0),
  };
}

async function releaseEntries(progress: Progress): Promise<Entry[]> {
  const { shim, runsc } = await buildStandins(progress);
  const common = { fullSize: true, shim, machine: 'x86_64' } as const;
  const rust = await archiveTree({
    ...common,
    archive: 'kata-static',
    shared: true,
    runsc: undefined,
  });
  const go = await archiveTree({ ...common, archive: 'kata-go-static', shared: false, runsc });
  const entries = new Map([...rust.entries, ...go.entries].map((entry) => [entry.path, entry]));
  for (let index = 0; entries.size < FILES; index += 1) {
    const path = `share/kata-qemu/qemu/filler/rom-${String(index).padStart(3, '0')}.bin`;
    const sizeBytes = 1024 + ((index * 7919) % 32_768);
    const bytes = Buffer.from(`stand-in for ${path}\n`);
    entries.set(path, { path, mode: 0o644, content: { bytes, sizeBytes } });
  }
  return [...entries.values()];
}

/** The largest first, each into the group that has least. */
function grouped(entries: readonly Entry[]): Entry[][] {
  const groups = Array.from({ length: COMPONENTS }, () => ({
    sizeBytes: 0,
    entries: [] as Entry[],
  }));
  for (const entry of entries.toSorted((a, b) => sizeOf(b) - sizeOf(a))) {
    const least = groups.reduce((a, b) => (b.sizeBytes < a.sizeBytes ? b : a));
    least.entries.push(entry);
    least.sizeBytes += sizeOf(entry) + 1;
  }
  return groups.map((group) => group.entries);
}

function sizeOf(entry: Entry): number {
  return 'content' in entry ? entry.content.sizeBytes : 0;
}

function sum(entries: readonly Entry[]): number {
  return entries.reduce((total, entry) => total + sizeOf(entry), 0);
}

/** Executables keep their head, which says what machine they are for. */
function change(entry: Entry): Entry {
  if (!('content' in entry) || !('bytes' in entry.content) || entry.path.endsWith('.toml'))
    return entry;
  const bytes = Buffer.concat([entry.content.bytes, Buffer.from(' changed\n')]);
  const sizeBytes = Math.max(entry.content.sizeBytes, bytes.length);
  return entry.path === 'VERSION' ? entry : { ...entry, content: { bytes, sizeBytes } };
}
