/**
 * Writes a tree under one directory: files with their sha256 computed on the way, links, directories, and
 * all of it flushed to disk at the end.
 *
 * It does what a `Placement` says. It never opens an existing file for writing: what is replaced is
 * removed first, so that neither a link nor a hard link can be written through.
 */
import { createHash } from 'node:crypto';
import { link, mkdir, open, symlink, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { KataError } from '../../errors.ts';
import { flushFileSystem } from '../host/helper.ts';
import { syncFile } from '../host/hostFile.ts';
import { errnoOf } from '../host/ioError.ts';
import type { Placement, TreeModel } from './treeModel.ts';

export type ManifestEntry =
  | {
      readonly path: string;
      readonly type: 'file';
      readonly sizeBytes: number;
      readonly mode: number;
      readonly sha256: string;
    }
  | { readonly path: string; readonly type: 'symlink'; readonly target: string };

export class TreeWriter {
  readonly #root: string;
  readonly #entries = new Map<string, ManifestEntry>();
  #bytesWritten = 0;

  /** `root` is a directory that exists and is empty, as this process finds it. */
  constructor(root: string) {
    this.#root = root;
  }

  get bytesWritten(): number {
    return this.#bytesWritten;
  }

  /** In the order of their paths, so that the same tree gives the same manifest. */
  entries(): ManifestEntry[] {
    return [...this.#entries.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  async place(placement: Placement, content: AsyncIterable<Uint8Array>): Promise<void> {
    if (placement.kind === 'nothing') return;
    for (const parent of placement.missingParents) await this.#directory(parent);
    if (placement.kind === 'directory') {
      await this.#directory(placement.path);
      return;
    }
    const { path } = placement;
    if (placement.replaces) {
      await unlink(this.#at(path));
      this.#entries.delete(path);
    }
    switch (placement.kind) {
      case 'file':
        await this.#file(path, placement.mode, content);
        return;
      case 'symlink':
        await symlink(placement.target, this.#at(path));
        this.#entries.set(path, { path, type: 'symlink', target: placement.target });
        return;
      case 'hardLink': {
        const source = this.#entries.get(placement.source);
        if (source?.type !== 'file')
          throw new KataError('KATA_E_INTERNAL', { cause: `${placement.source} was not written` });
        await link(this.#at(placement.source), this.#at(path));
        this.#entries.set(path, { ...source, path });
      }
    }
  }

  /**
   * Returns when every file and directory is on disk. One flush of the file system takes half a second where
   * fsync of each of a thousand files takes four; it waits for what others wrote there, too.
   */
  async flush(model: TreeModel, signal: AbortSignal): Promise<void> {
    if (await flushFileSystem(this.#root, signal)) return;
    for (const { path, type } of this.#entries.values()) {
      if (type === 'file') await syncFile(this.#at(path));
    }
    for (const directory of model.directories()) await syncFile(this.#at(directory));
    await syncFile(this.#root);
  }

  #at(path: string): string {
    return join(this.#root, path);
  }

  async #directory(path: string): Promise<void> {
    await mkdir(this.#at(path), { mode: 0o755 }).catch((error: unknown) => {
      // The model knows that it is a directory: an archive may name one again.
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
  }

  async #file(path: string, mode: number, content: AsyncIterable<Uint8Array>): Promise<void> {
    const file = await open(this.#at(path), 'wx', 0o600);
    const hash = createHash('sha256');
    let sizeBytes = 0;
    let writing: Promise<void> = Promise.resolve();
    try {
      for await (const chunk of content) {
        // One write is under way while the next chunk is unpacked and hashed.
        await writing;
        writing = writeAll(file, chunk);
        writing.catch(() => undefined); // awaited above or below
        hash.update(chunk);
        sizeBytes += chunk.length;
        this.#bytesWritten += chunk.length;
      }
      await writing;
      await file.chmod(mode);
    } finally {
      await writing.catch(() => undefined); // nothing may write into a file that is closed
      await file.close();
    }
    this.#entries.set(path, { path, type: 'file', sizeBytes, mode, sha256: hash.digest('hex') });
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.length;) {
    const { bytesWritten } = await file.write(chunk, offset);
    offset += bytesWritten;
  }
}
