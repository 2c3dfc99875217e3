/**
 * Writes the index of the archives that go into the node image:
 *   node build/indexArtifacts.ts [DIRECTORY=daemonset-image/artifacts]
 * Each archive is read once, for its digest and the size of what it holds. Where an archive comes from,
 * and whether its signature is right, is for whoever puts it there.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decompress, detectFormat, MAGIC_BYTES } from '../src/node/artifacts/formats.ts';
import { readTar } from '../src/node/artifacts/tarReader.ts';

const DEFAULT_DIRECTORY = fileURLToPath(new URL('../daemonset-image/artifacts', import.meta.url));

/** `kata-go-static-4.1.0-amd64.tar.zst`: component, version, architecture in Go's words. */
const ARCHIVE_NAME = /^(.+?)-\d[^-]*-([a-z0-9]+)\.tar\.(?:zst|xz|gz)$/;

export interface IndexEntry {
  readonly file: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Sum of the sizes of the files inside. */
  readonly unpackedBytes: number;
  readonly arch: string;
  readonly component: string;
}

/**
 * The archives of a directory in the order in which they overlay each other: `kata-static`, then the
 * others by name. Throws when a name does not say for which architecture it is, or a file is no archive.
 */
export async function indexArtifacts(directory: string): Promise<IndexEntry[]> {
  const files = (await readdir(directory)).filter((file) => /\.tar\.[a-z]+$/.test(file)).sort();
  const entries: IndexEntry[] = [];
  for (const file of files) {
    const [, component, arch] = ARCHIVE_NAME.exec(file) ?? [];
    if (component === undefined || arch === undefined) {
      throw new Error(`${file}: not named <component>-<version>-<arch>.tar.zst`);
    }
    entries.push({ file, ...(await readArchive(join(directory, file))), arch, component });
  }
  const rank = (entry: IndexEntry) => (entry.component === 'kata-static' ? 0 : 1);
  return entries.sort((a, b) => rank(a) - rank(b));
}

async function readArchive(path: string) {
  const format = detectFormat(await firstBytes(path));
  if (format === undefined) throw new Error(`${path}: neither zstd, xz nor gzip`);
  const hash = createHash('sha256');
  let sizeBytes = 0;
  async function* measured() {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      yield chunk;
    }
  }
  let unpackedBytes = 0;
  for await (const event of readTar(decompress(format, measured()))) {
    if (event.kind === 'entry') unpackedBytes += event.entry.sizeBytes;
  }
  return { sha256: hash.digest('hex'), sizeBytes, unpackedBytes };
}

async function firstBytes(path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(path, { end: MAGIC_BYTES - 1 })) {
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

if (import.meta.main) {
  const directory = process.argv[2] ?? DEFAULT_DIRECTORY;
  const archives = await indexArtifacts(directory);
  const index = `${JSON.stringify({ archives }, undefined, 2)}\n`;
  await writeFile(join(directory, 'index.json'), index);
  console.log(`${join(directory, 'index.json')}: ${String(archives.length)} archives`);
}
