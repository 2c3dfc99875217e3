/**
 * Archives in any bytes at all: refused in words, or read the same however they are cut, with no more content
 * than a header promised and no entry that would be placed, or would point, outside the version.
 */
import assert from 'node:assert/strict';
import { posix } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { KataError } from '../../src/errors.ts';
import { decompress, detectFormat } from '../../src/node/artifacts/formats.ts';
import { TarError } from '../../src/node/artifacts/tarHeader.ts';
import { TarReader, readTar, type TarEvent } from '../../src/node/artifacts/tarReader.ts';
import {
  TreeModel,
  type ArchiveEntry,
  type Placement,
} from '../../src/node/artifacts/treeModel.ts';
import { fuzzTarget } from './target.ts';
import { tarArchive } from './tarArchive.ts';

interface Read {
  readonly entries: { readonly entry: ArchiveEntry; contentBytes: number }[];
  readonly error?: string;
}

function readInChunks(archive: Uint8Array, size: number): Read {
  const entries: Read['entries'] = [];
  const reader = new TarReader();
  try {
    for (let at = 0; at < archive.length; at += size)
      for (const event of reader.push(archive.subarray(at, at + size))) add(entries, event);
    reader.end();
  } catch (error) {
    if (!(error instanceof TarError)) throw error;
    return { entries, error: error.message };
  }
  return { entries };
}

function add(entries: Read['entries'], event: TarEvent): void {
  if (event.kind === 'entry') {
    entries.push({ entry: event.entry, contentBytes: 0 });
    return;
  }
  const last = entries.at(-1);
  assert.ok(last !== undefined, 'content without an entry');
  last.contentBytes += event.bytes.length;
  assert.ok(last.contentBytes <= last.entry.sizeBytes, 'more content than was promised');
}

/** What a kernel would make of the placements, as far as they were accepted. */
function requireInside(entries: readonly ArchiveEntry[]): 'placed' | 'refused' {
  const model = new TreeModel({ entries: 50, totalBytes: 1_000_000 });
  const links = new Map<string, string>();
  try {
    for (const entry of entries) requirePlacedInside(model.accept('fuzz.tar', entry), entry, links);
    model.checkLinks();
  } catch (error) {
    if (!(error instanceof KataError)) throw error;
    assert.equal(error.code, 'KATA_E_ARTIFACT_HOSTILE');
    assert.doesNotMatch(
      error.message,
      /[\u0000-\u001f\u007f]/,
      'a control character reaches people',
    );
    return 'refused';
  }
  for (const [path, target] of links)
    assert.doesNotMatch(
      resolved(posix.dirname(path), target, links),
      /^\.\.(\/|$)/,
      `${path} leads out`,
    );
  return 'placed';
}

function requirePlacedInside(
  placement: Placement,
  entry: ArchiveEntry,
  links: Map<string, string>,
): void {
  if (placement.kind === 'nothing') return;
  const { path } = placement;
  assert.equal(path, posix.normalize(path));
  assert.doesNotMatch(path, /^(\.\.)?(\/|$)/, 'a path leads out');
  for (let parent = posix.dirname(path); parent !== '.'; parent = posix.dirname(parent))
    assert.ok(!links.has(parent), 'a parent is a link');
  if (placement.kind === 'file') assert.equal(placement.mode & ~0o755, 0);
  else assert.equal(entry.sizeBytes, 0, 'content of something that is no file');
  links.delete(path);
  if (placement.kind === 'symlink') links.set(path, placement.target);
}

/** Lexically, but through the links that are there; those that go in a circle were refused. */
function resolved(from: string, target: string, links: ReadonlyMap<string, string>): string {
  assert.ok(!target.startsWith('/'), 'an absolute link');
  let at = from;
  for (const [index, segment] of target.split('/').entries()) {
    at = posix.normalize(posix.join(at, segment));
    if (at.startsWith('..')) return at;
    const next = links.get(at);
    if (next === undefined || segment === '..' || segment === '.') continue;
    const rest = target.split('/').slice(index + 1);
    return resolved(posix.dirname(at), [next, ...rest].join('/'), links);
  }
  return at;
}

export const tarTarget = fuzzTarget(
  'tar',
  fc.tuple(tarArchive, fc.integer({ min: 1, max: 1500 })),
  ([archive, size]) => {
    const whole = readInChunks(archive, Math.max(1, archive.length));
    assert.deepEqual(readInChunks(archive, size), whole, 'it depends on how the archive is cut');
    for (const { entry, contentBytes } of whole.error === undefined ? whole.entries : [])
      assert.equal(contentBytes, entry.sizeBytes, 'less content than was promised');
    const placed = requireInside(whole.entries.map(({ entry }) => entry));
    return whole.error === undefined ? placed : 'unreadable';
  },
);

type Cut = readonly [at: number, byte: number | undefined];

/** Compressed archives, whole and damaged, in one frame and in several. */
export const archiveTarget = fuzzTarget(
  'archive',
  fc.tuple(
    tarArchive,
    fc.constantFrom('zstd' as const, 'gzip' as const),
    fc.integer({ min: 1, max: 4 }),
    fc.option(fc.tuple(fc.nat(), fc.option(fc.nat(255), { nil: undefined })), { nil: undefined }),
    fc.integer({ min: 1, max: 3000 }),
  ),
  async ([archive, format, frames, cut, size]) => {
    const compressed = damagedBytes(compress(archive, format, frames), cut);
    if (detectFormat(compressed) !== format) return 'another format';
    const read = await readCompressed(compressed, format, size);
    if (read === undefined) return 'unreadable';
    if (cut === undefined)
      assert.deepEqual(read, readInChunks(archive, Math.max(1, archive.length)).entries);
    return 'read';
  },
);

function compress(archive: Buffer, format: 'zstd' | 'gzip', frames: number): Buffer {
  const size = Math.ceil(archive.length / frames) || 1;
  const parts = Array.from({ length: frames }, (_, i) =>
    archive.subarray(i * size, (i + 1) * size),
  );
  return Buffer.concat(
    parts.map((part) => (format === 'zstd' ? zstdCompressSync(part) : gzipSync(part))),
  );
}

/** Cut off, or one byte changed. */
function damagedBytes(bytes: Buffer, cut: Cut | undefined): Buffer {
  if (cut === undefined || bytes.length === 0) return bytes;
  const at = cut[0] % bytes.length;
  if (cut[1] === undefined) return bytes.subarray(0, at);
  bytes[at] = cut[1];
  return bytes;
}

async function readCompressed(
  compressed: Buffer,
  format: 'zstd' | 'gzip',
  size: number,
): Promise<Read['entries'] | undefined> {
  const entries: Read['entries'] = [];
  try {
    for await (const event of readTar(decompress(format, chunks(compressed, size))))
      add(entries, event);
    return entries;
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    assert.ok(error instanceof Error && error.message !== '', 'it says nothing');
    return undefined;
  }
}

/** One buffer for all of them, as files are read. */
async function* chunks(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  const memory = Buffer.alloc(size);
  for (let at = 0; at < bytes.length; at += size) {
    const length = bytes.copy(memory, 0, at, at + size);
    yield memory.subarray(0, length);
    await Promise.resolve();
  }
}
