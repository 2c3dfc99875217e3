/**
 * Packs the stand-in runtimes into archives laid out like Kata's own, with an index as the node image
 * carries it.
 *
 * Owns <cache>/artifacts. What it packs says "stand-in" wherever it can be asked; it must never hold a
 * byte of Kata's.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withLock } from '../cluster/lock.ts';
import { CACHE } from '../cluster/paths.ts';
import { Progress, stderrLog } from '../cluster/progress.ts';
import { writeArchive } from './archive.ts';
import { buildStandins, type Standins } from './build.ts';
import { archiveTree, KATA_VERSION, type ArchiveName, type TreeOptions } from './tree.ts';

/**
 * - `small`: both archives as they are released, with files of next to no size
 * - `full`: the same tree in its real size, 1.08 GB unpacked, half of it incompressible
 * - `wrongArch`: named for amd64, with executables for aarch64
 * - `notIsolated`: runc's shim under Kata's name; Pods run, on the host's kernel
 * - `notAnArchive`: an error page under an archive's name
 */
export const ARCHIVE_KINDS = ['small', 'full', 'wrongArch', 'notIsolated', 'notAnArchive'] as const;
export type ArchiveKind = (typeof ARCHIVE_KINDS)[number];

export interface IndexedArchive {
  readonly file: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Sum of the sizes of the files inside. */
  readonly unpackedBytes: number;
  readonly arch: 'amd64';
  readonly component: ArchiveName;
}

/** `index.json` beside the archives; their order is the one in which they overlay each other. */
export interface ArchiveIndex {
  readonly archives: readonly IndexedArchive[];
}

export interface PackOptions {
  readonly kind: ArchiveKind;
  /** Default: <cache>/artifacts/<kind>. */
  readonly dir?: string;
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
}

export const artifactsDirectory = (kind: ArchiveKind): string => join(CACHE, 'artifacts', kind);

/** Packs the archives of a kind and their index.json into `dir`, unless they are there and up to date. */
export async function packArchives(options: PackOptions): Promise<ArchiveIndex> {
  const {
    kind,
    dir = artifactsDirectory(kind),
    progress = new Progress(stderrLog),
    signal,
  } = options;
  const standins = await buildStandins(progress, signal);
  const key = createHash('sha256')
    .update(`${kind}\0${standins.key}\0${await packerKey()}`)
    .digest('hex');
  const fresh = await readIndex(dir, key);
  if (fresh !== undefined) return fresh;
  return withLock(`${dir}.lock`, async () => {
    const meanwhile = await readIndex(dir, key);
    if (meanwhile !== undefined) return meanwhile;
    return progress.step(`pack the ${kind} artifacts`, () => packInto(dir, kind, key, standins));
  });
}

async function packInto(
  dir: string,
  kind: ArchiveKind,
  key: string,
  standins: Standins,
): Promise<ArchiveIndex> {
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  const archives: IndexedArchive[] = [];
  if (kind === 'notAnArchive') archives.push(await writeErrorPage(dir));
  for (const tree of treesOf(kind, standins)) {
    const { prefix, entries } = await archiveTree(tree);
    const file = fileName(tree.archive);
    const written = await writeArchive(join(dir, file), prefix, entries);
    archives.push({ file, ...written, arch: 'amd64', component: tree.archive });
  }
  const index: ArchiveIndex = { archives };
  await writeFile(join(dir, 'index.json'), `${JSON.stringify(index, undefined, 2)}\n`);
  await writeFile(keyFile(dir), key);
  return index;
}

const fileName = (archive: ArchiveName): string => `${archive}-${KATA_VERSION}-amd64.tar.zst`;
/** Beside the directory, whose every file goes into an image. */
const keyFile = (dir: string): string => `${dir}.key`;

function treesOf(kind: ArchiveKind, { shim, runsc, hostKernelShim }: Standins): TreeOptions[] {
  const go: TreeOptions = {
    archive: 'kata-go-static',
    shared: true,
    fullSize: false,
    shim,
    runsc,
    machine: 'x86_64',
  };
  const rust: TreeOptions = { ...go, archive: 'kata-static', runsc: undefined };
  switch (kind) {
    case 'small':
      return [rust, go];
    case 'full':
      // What both hold is packed once: the size of the tree is what is unpacked.
      return [
        { ...rust, fullSize: true },
        { ...go, fullSize: true, shared: false },
      ];
    case 'wrongArch':
      return [{ ...go, machine: 'aarch64' }];
    case 'notIsolated':
      return [{ ...go, shim: hostKernelShim, runsc: undefined }];
    case 'notAnArchive':
      return [];
  }
}

async function writeErrorPage(dir: string): Promise<IndexedArchive> {
  const page = Buffer.from(
    '<!DOCTYPE html><title>503</title><p>The proxy could not reach the server.\n',
  );
  const file = fileName('kata-go-static');
  await writeFile(join(dir, file), page);
  const sha256 = createHash('sha256').update(page).digest('hex');
  return {
    file,
    sha256,
    sizeBytes: page.length,
    unpackedBytes: page.length,
    arch: 'amd64',
    component: 'kata-go-static',
  };
}

async function readIndex(dir: string, key: string): Promise<ArchiveIndex | undefined> {
  try {
    if ((await readFile(keyFile(dir), 'utf8')) !== key) return undefined;
    return JSON.parse(await readFile(join(dir, 'index.json'), 'utf8')) as ArchiveIndex;
  } catch {
    return undefined;
  }
}

/** Changes with anything that decides what is in an archive, besides the runtimes. */
async function packerKey(): Promise<string> {
  const hash = createHash('sha256');
  for (const file of (await readdir(import.meta.dirname, { recursive: true })).sort()) {
    if (!/^(configurations\/.*\.toml|layout\.json|[a-z]+\.ts)$/.test(file)) continue;
    hash.update(`${file}\0`).update(await readFile(join(import.meta.dirname, file)));
  }
  return hash.digest('hex');
}

if (import.meta.main) {
  const requested = process.argv.slice(2);
  const kinds = ARCHIVE_KINDS.filter((kind) => requested.length === 0 || requested.includes(kind));
  for (const kind of kinds)
    console.log(JSON.stringify({ kind, ...(await packArchives({ kind })) }, undefined, 2));
}
