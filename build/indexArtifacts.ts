/**
 * Writes the index of the archives that go into the node image:
 *   node build/indexArtifacts.ts [DIRECTORY=daemonset-image/artifacts]
 * Each archive is read once, for its digest and the size of what it holds. Where an archive comes from,
 * and whether its signature is right, is for whoever puts it there.
 */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  INDEX_FILE,
  describeArchive,
  inOverlayOrder,
  type IndexEntry,
} from '../src/node/artifacts/archiveIndex.ts';

export type { IndexEntry };

const DEFAULT_DIRECTORY = fileURLToPath(new URL('../daemonset-image/artifacts', import.meta.url));

/**
 * The archives of a directory in the order in which they overlay each other: `kata-static`, then the
 * others by name. Throws when a name does not say for which architecture it is, or a file is no archive.
 */
export async function indexArtifacts(directory: string): Promise<IndexEntry[]> {
  const files = (await readdir(directory)).filter((file) => /\.tar\.[a-z]+$/.test(file));
  const entries: IndexEntry[] = [];
  for (const file of files)
    entries.push(await describeArchive(join(directory, file), new AbortController().signal));
  return inOverlayOrder(entries);
}

if (import.meta.main) {
  const directory = process.argv[2] ?? DEFAULT_DIRECTORY;
  const archives = await indexArtifacts(directory);
  const index = `${JSON.stringify({ archives }, undefined, 2)}\n`;
  await writeFile(join(directory, INDEX_FILE), index);
  console.log(`${join(directory, INDEX_FILE)}: ${String(archives.length)} archives`);
}
