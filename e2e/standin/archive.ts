/**
 * Writes a tree as a .tar.zst whose bytes depend on nothing but the tree: sorted, owned by root, one
 * modification time for all. Never holds a whole file of the tree in memory.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress } from 'node:zlib';
import { pack, type Header, type Pack } from 'tar-stream';
import { padding } from './padding.ts';

/** What stands in a file: bytes, then as much padding as its size still asks for; or another file. */
export type Content =
  | { readonly bytes: Buffer; readonly sizeBytes: number }
  | { readonly file: string; readonly sizeBytes: number };

export type Entry =
  | { readonly path: string; readonly mode: number; readonly content: Content }
  | { readonly path: string; readonly linkTarget: string };

export interface WrittenArchive {
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Sum of the sizes of the files in it. */
  readonly unpackedBytes: number;
}

/** The day on which Kata Containers 4.1.0 was released. */
const MODIFIED_AT = new Date('2026-08-21T00:00:00Z');
const COMPRESSION_LEVEL = 3;

/** Writes `entries`, whose paths are below `prefix` (`./opt/kata/`), to `target`. */
export async function writeArchive(
  target: string,
  prefix: string,
  entries: readonly Entry[],
): Promise<WrittenArchive> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      done(null, chunk);
    },
  });
  const compress = createZstdCompress({
    params: {
      [constants.ZSTD_c_compressionLevel]: COMPRESSION_LEVEL,
      [constants.ZSTD_c_checksumFlag]: 1,
    },
  });
  const tar = pack();
  const partial = `${target}.partial`;
  await Promise.all([
    pipeline(tar, compress, measure, createWriteStream(partial)),
    addAll(tar, prefix, entries),
  ]);
  await rename(partial, target);
  return { sha256: hash.digest('hex'), sizeBytes, unpackedBytes: totalSize(entries) };
}

async function addAll(tar: Pack, prefix: string, entries: readonly Entry[]): Promise<void> {
  const seen = new Set<string>();
  for (const entry of entries.toSorted((a, b) => (a.path < b.path ? -1 : 1))) {
    const name = prefix + entry.path;
    for (const directory of parents(name)) {
      if (seen.has(directory)) continue;
      seen.add(directory);
      await add(tar, { name: directory, type: 'directory', mode: 0o755 });
    }
    if ('linkTarget' in entry) {
      await add(tar, { name, type: 'symlink', linkname: entry.linkTarget, mode: 0o777 });
    } else {
      const { mode, content } = entry;
      await add(tar, { name, type: 'file', mode, size: content.sizeBytes }, content);
    }
  }
  tar.finalize();
}

/** `./opt/kata/bin/runsc` → `./`, `./opt/`, `./opt/kata/`, `./opt/kata/bin/`. */
function parents(name: string): string[] {
  const parts = name.split('/').slice(0, -1);
  return parts.map((_, index) => `${parts.slice(0, index + 1).join('/')}/`);
}

async function add(
  tar: Pack,
  header: Partial<Header> & { readonly name: string },
  content?: Content,
): Promise<void> {
  const complete = { ...header, uid: 0, gid: 0, uname: 'root', gname: 'root', mtime: MODIFIED_AT };
  await new Promise<void>((resolve, reject) => {
    const sink = tar.entry(complete, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(error);
    });
    if (content === undefined) return;
    const source =
      'file' in content
        ? createReadStream(content.file)
        : Readable.from(padded(content, header.name));
    source.once('error', reject);
    source.pipe(sink);
  });
}

function* padded(content: { bytes: Buffer; sizeBytes: number }, seed: string): Generator<Buffer> {
  yield content.bytes;
  yield* padding(seed, content.sizeBytes - content.bytes.length);
}

function totalSize(entries: readonly Entry[]): number {
  const sizes = entries.map((entry) => ('content' in entry ? entry.content.sizeBytes : 0));
  return sizes.reduce((sum, size) => sum + size, 0);
}
