/**
 * The files of Kata's release archives, with stand-ins for what they hold.
 * Owns which component is in which archive and how large the files are. Reads the layout and the
 * configurations beside it, which are facts of Kata Containers 4.1.0, and writes nothing.
 */
import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import type { Content, Entry } from './archive.ts';
import { claimMachine, stubExecutable, type Machine } from './elf.ts';

export const KATA_VERSION = '4.1.0';

/** `kata-static` holds the Rust runtime, `kata-go-static` the Go one; guests and hypervisors are in both. */
export type ArchiveName = 'kata-static' | 'kata-go-static';

const ONLY_IN: Readonly<Record<ArchiveName, ReadonlySet<string>>> = {
  'kata-static': new Set(['shim-v2-rust', 'kernel-dragonball-experimental', 'openvmm']),
  'kata-go-static': new Set(['shim-v2-go', 'firecracker', 'stratovirt']),
};

export interface TreeOptions {
  readonly archive: ArchiveName;
  /** Whether the archive holds what the other one holds too. */
  readonly shared: boolean;
  /** Real sizes, or next to nothing for what is not run. */
  readonly fullSize: boolean;
  readonly shim: string;
  /** Put beside the Go shim, where there is a sandbox to run. */
  readonly runsc: string | undefined;
  /** What the executables say of themselves; x86-64 in truth. */
  readonly machine: Machine;
}

const layoutSchema = z.object({
  prefix: z.string(),
  arches: z.record(z.string(), z.record(z.string(), z.record(z.string(), z.string()))),
});

/** The entries of one archive, with paths relative to the prefix, and that prefix. */
export async function archiveTree(
  options: TreeOptions,
): Promise<{ prefix: string; entries: Entry[] }> {
  const text = await readFile(join(import.meta.dirname, 'layout.json'), 'utf8');
  const { prefix, arches } = layoutSchema.parse(JSON.parse(text));
  const entries: Entry[] = [textEntry('VERSION', `${KATA_VERSION}\n`), versionsEntry()];
  for (const [component, files] of Object.entries(arches['x86_64'] ?? {})) {
    if (!isIncluded(component, options)) continue;
    for (const [path, kind] of Object.entries(files))
      entries.push(await layoutEntry(path, kind, options));
  }
  if (options.runsc !== undefined) {
    const content = await executable(options.runsc, options.machine);
    entries.push({ path: 'bin/runsc', mode: 0o755, content });
  }
  // A link that both shims bring along.
  const unique = new Map(entries.map((entry) => [entry.path, entry]));
  return { prefix, entries: [...unique.values()] };
}

function isIncluded(component: string, { archive, shared }: TreeOptions): boolean {
  if (ONLY_IN[archive].has(component)) return true;
  const isElsewhere = Object.values(ONLY_IN).some((components) => components.has(component));
  return shared && !isElsewhere;
}

async function layoutEntry(path: string, kind: string, options: TreeOptions): Promise<Entry> {
  const target = /^-> (.*)$/.exec(kind)?.[1];
  if (target !== undefined) return { path, linkTarget: target };
  return { path, mode: parseInt(kind, 8), content: await contentOf(path, options) };
}

async function contentOf(path: string, options: TreeOptions): Promise<Content> {
  const name = basename(path);
  if (name === 'containerd-shim-kata-v2') return executable(options.shim, options.machine);
  if (name.endsWith('.toml')) return bytes(await readFile(configurationFile(path)));
  if (name.endsWith('.sh')) return bytes(Buffer.from('#!/bin/sh\necho stand-in\n'));
  if (/^(config|System\.map)-|^root_hash|^kata-runtime$/.test(name) && !path.startsWith('bin/')) {
    return bytes(Buffer.from(`stand-in for ${name}\n`));
  }
  const isExecutable = /^(bin|libexec)\/|\/vmlinux-/.test(path);
  const start = isExecutable
    ? stubExecutable(options.machine)
    : Buffer.from(`stand-in for ${name}\n`);
  const sizeBytes = options.fullSize ? fullSizeBytes(path) : SMALL_SIZE_BYTES;
  return { bytes: start, sizeBytes: Math.max(sizeBytes, start.length) };
}

function configurationFile(path: string): string {
  const runtime = path.includes('/runtime-rs/') ? 'rs' : 'go';
  return join(import.meta.dirname, 'configurations/x86_64', runtime, basename(path));
}

async function executable(file: string, machine: Machine): Promise<Content> {
  if (machine !== 'x86_64') return bytes(claimMachine(await readFile(file), machine));
  return { file, sizeBytes: (await stat(file)).size };
}

const SMALL_SIZE_BYTES = 4096;
const MB = 1_000_000;

/** First match wins. Together with the shims and runsc they make a tree of 1.08 GB. */
const FULL_SIZES: readonly (readonly [RegExp, number])[] = [
  [/kata-ubuntu-resolute\.image$/, 256 * 1024 * 1024],
  [/resolute-confidential\.image$/, 147 * MB],
  [/\.image$/, 28 * MB],
  [/-extension\.img$/, 20 * MB],
  [/\.initrd$/, 30 * MB],
  [/\/vmlinux-/, 24 * MB],
  [/\/vmlinuz-/, 8 * MB],
  [/\/qemu-system-/, 16 * MB],
  [/^bin\/|^libexec\//, 5 * MB],
  [/\.fd$/, 4 * MB],
];

function fullSizeBytes(path: string): number {
  return FULL_SIZES.find(([pattern]) => pattern.test(path))?.[1] ?? SMALL_SIZE_BYTES;
}

function bytes(content: Buffer): Content {
  return { bytes: content, sizeBytes: content.length };
}

function textEntry(path: string, text: string): Entry {
  return { path, mode: 0o644, content: bytes(Buffer.from(text)) };
}

function versionsEntry(): Entry {
  return textEntry(
    'versions.yaml',
    `description: stand-in, no component of Kata is inside\nversion: "${KATA_VERSION}"\n`,
  );
}
