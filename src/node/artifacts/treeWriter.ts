/**
 * Writes a tree under one directory and keeps the account of it: which archive gave what, with the digest
 * that was computed while the bytes went by.
 *
 * It does what a `Placement` says. Nothing that exists is ever opened for writing: what is replaced is
 * removed first, so that neither a link nor a hard link can be written through.
 */
import { join } from 'node:path';
import { KataError } from '../../errors.ts';
import { flushFileSystem } from '../host/helper.ts';
import { syncFile } from '../host/hostFile.ts';
import { FileWriter } from './fileWriter.ts';
import type { Fingerprint, WrittenFile } from './fileThreadProtocol.ts';
import type { FileEntry, ManifestArchive, ManifestEntry } from './manifest.ts';
import type { Placement } from './treeModel.ts';

/** A file that exists: of another version, or of a tree on the host. */
export interface ExistingFile {
  /** As this process finds it. */
  readonly from: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Given when it may be hard-linked, as long as it was last modified then and has the mode that is wanted. */
  readonly mtimeNs?: string;
}

/** An entry as far as it is known before its bytes were seen. */
type Pending =
  | Exclude<ManifestEntry, FileEntry>
  | { readonly type: 'file'; readonly path: string; readonly id: number; readonly mode: number };

interface Owned {
  readonly entry: Pending;
  /** The archive that gave it last; -1 when there is none. */
  readonly archive: number;
}

interface PendingArchive {
  readonly sha256: string;
  readonly replaced: Pending[];
}

export interface WrittenTree {
  /** In the order of their paths, so that the same tree gives the same manifest. */
  readonly entries: readonly ManifestEntry[];
  readonly archives: readonly ManifestArchive[];
  readonly bytesWritten: number;
}

export class TreeWriter {
  readonly #root: string;
  readonly #files: FileWriter;
  readonly #entries = new Map<string, Owned>();
  readonly #archives: PendingArchive[] = [];
  readonly #written = new Map<number, WrittenFile>();
  #ids = 0;
  #isOpen = false;
  #bytesWritten = 0;

  /** `root` is a directory that exists and is empty, as this process finds it. To be closed. */
  constructor(root: string) {
    this.#root = root;
    this.#files = new FileWriter(root);
  }

  /** What is placed from now on comes from this archive. */
  beginArchive(sha256: string): void {
    this.#archives.push({ sha256, replaced: [] });
  }

  /**
   * For a file, `sizeBytes` of content follow by `write`. `twin` is a file that may have the same content: it is linked
   * if, byte by byte, it has.
   */
  place(placement: Placement, sizeBytes = 0, twin?: Fingerprint & { readonly at: string }): void {
    this.#end();
    if (!this.#makeRoom(placement)) return;
    const { path } = placement;
    switch (placement.kind) {
      case 'directory':
        return;
      case 'file': {
        const { mode } = placement;
        const id = this.#account(path, mode);
        const perhaps = twin === undefined ? {} : { twin };
        this.#files.send({ kind: 'open', id, path, mode, sizeBytes, ...perhaps });
        this.#isOpen = true;
        return;
      }
      case 'symlink': {
        const { target } = placement;
        this.#set({ type: 'symlink', path, target });
        this.#files.send({ kind: 'symlink', path, target });
        return;
      }
      case 'hardLink': {
        const { source } = placement;
        const entry = this.#entries.get(source)?.entry;
        if (entry?.type !== 'file')
          throw new KataError('KATA_E_INTERNAL', { cause: `${source} was not written` });
        this.#set({ type: 'file', path, id: entry.id, mode: entry.mode });
        this.#files.send({ kind: 'hardLink', path, source });
      }
    }
  }

  /** A file whose content is somewhere already. Anything but a file is placed as ever. */
  placeExisting(placement: Placement, { from, sizeBytes, sha256, mtimeNs }: ExistingFile): void {
    if (placement.kind !== 'file') {
      this.place(placement);
      return;
    }
    this.#end();
    this.#makeRoom(placement);
    const { path, mode } = placement;
    const id = this.#account(path, mode);
    const command = { id, path, mode, from, sizeBytes, sha256 };
    if (mtimeNs === undefined) this.#files.send({ kind: 'copy', ...command });
    else this.#files.send({ kind: 'link', mtimeNs, ...command });
  }

  /** The next bytes of the file that was placed last. */
  async write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    if (this.#isOpen) await this.#files.write(bytes, signal);
  }

  /** Waits until all that was placed is there. */
  async drain(signal: AbortSignal): Promise<void> {
    this.#end();
    const { written, bytesWritten } = await this.#files.drain(signal);
    for (const file of written) this.#written.set(file.id, file);
    this.#bytesWritten = bytesWritten;
  }

  /** Of what was drained. */
  tree(): WrittenTree {
    const entries = [...this.#entries.values()]
      .map(({ entry, archive }) => ({
        ...this.#complete(entry),
        ...(archive < 0 ? {} : { archive }),
      }))
      .sort((a, b) => (a.path < b.path ? -1 : 1));
    const archives = this.#archives.map(({ sha256, replaced }) => ({
      sha256,
      replaced: replaced.map((entry) => this.#complete(entry)),
    }));
    return { entries, archives, bytesWritten: this.#bytesWritten };
  }

  /**
   * Returns when every file and directory is on disk. One flush of the file system takes half a second where
   * fsync of each of a thousand files takes four; it waits for what others wrote there, too.
   */
  async flush(signal: AbortSignal): Promise<void> {
    if (await flushFileSystem(this.#root, signal)) return;
    for (const { entry } of this.#entries.values()) {
      const { path, type } = entry;
      if (type !== 'symlink') await syncFile(join(this.#root, path));
    }
    await syncFile(this.#root);
  }

  /** Nothing is written any more when this returns. */
  async close(): Promise<void> {
    await this.#files.close();
  }

  #end(): void {
    if (this.#isOpen) this.#files.end();
    this.#isOpen = false;
  }

  /** Makes parents, and the directory itself, and takes away what is replaced. False when nothing is to be placed. */
  #makeRoom(placement: Placement): placement is Exclude<Placement, { kind: 'nothing' }> {
    if (placement.kind === 'nothing') return false;
    for (const parent of placement.missingParents) this.#directory(parent);
    if (placement.kind === 'directory') this.#directory(placement.path);
    else if (placement.replaces) this.#files.send({ kind: 'remove', path: placement.path });
    return true;
  }

  #directory(path: string): void {
    // An archive may name one again, and a later archive one of an earlier.
    const exists = this.#entries.has(path);
    this.#set({ type: 'directory', path });
    if (!exists) this.#files.send({ kind: 'directory', path });
  }

  #account(path: string, mode: number): number {
    this.#ids += 1;
    this.#set({ type: 'file', path, id: this.#ids, mode });
    return this.#ids;
  }

  #set(entry: Pending): void {
    const archive = this.#archives.length - 1;
    const before = this.#entries.get(entry.path);
    if (before !== undefined && before.archive !== archive)
      this.#archives[before.archive]?.replaced.push(before.entry);
    this.#entries.set(entry.path, { entry, archive });
  }

  #complete(entry: Pending): ManifestEntry {
    if (entry.type !== 'file') return entry;
    const { id, ...rest } = entry;
    const file = this.#written.get(id);
    if (file === undefined)
      throw new KataError('KATA_E_INTERNAL', { cause: `${entry.path} was not written` });
    const { sizeBytes, mtimeNs, sha256 } = file;
    return { ...rest, sizeBytes, mtimeNs, sha256 };
  }
}
