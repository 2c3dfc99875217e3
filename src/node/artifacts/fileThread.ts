/**
 * The thread that writes a version's files: it hashes, writes, links and copies what the main thread tells
 * it to, in that order, so that decompressing and reading go on meanwhile.
 *
 * It knows no archive and no rule of what may be placed where. It never opens an existing file for writing.
 * After the first failure it does nothing more. All its file operations are synchronous but one: large
 * files begin to reach the disk while others are still being written.
 */
import {
  close,
  closeSync,
  constants,
  fchmodSync,
  fdatasync,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { createHash, type Hash } from 'node:crypto';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { Command, Fingerprint, Reply, ThreadData, WrittenFile } from './fileThreadProtocol.ts';

// Below it, one flush of the whole file system at the end is cheaper than one for each file.
const EARLY_FLUSH_BYTES = 4 * 1024 * 1024;

const { root, shared, slotBytes } = workerData as ThreadData;
const slots = new Uint8Array(shared);
const scratch = Buffer.allocUnsafeSlow(slotBytes);
const at = (path: string): string => join(root, path);

let written: WrittenFile[] = [];
let bytesWritten = 0;
let open: OpenFile | undefined;
let failed = false;

/** A file of this tree that is being written, or of another version as long as it proves to be the same. */
class OpenFile {
  readonly #command: Extract<Command, { kind: 'open' }>;
  readonly #hash: Hash = createHash('sha256');
  #sizeBytes = 0;
  #target: number | undefined;
  #twin: number | undefined;

  constructor(command: Extract<Command, { kind: 'open' }>) {
    this.#command = command;
    this.#twin = command.twin === undefined ? undefined : openTwin(command.twin);
    if (this.#twin === undefined) this.#target = create(command.path);
  }

  write(bytes: Uint8Array): void {
    if (this.#twin !== undefined && !isNext(this.#twin, this.#sizeBytes, bytes)) this.#part();
    if (this.#target !== undefined) writeAll(this.#target, bytes);
    this.#hash.update(bytes);
    this.#sizeBytes += bytes.length;
  }

  end(): void {
    const { id, path, mode, twin } = this.#command;
    if (this.#twin !== undefined && twin !== undefined) {
      const same = fstatSync(this.#twin).size === this.#sizeBytes;
      const linked = same && tryLink(twin.at, path, twin);
      if (!linked) this.#part();
    }
    const descriptor = this.#target;
    if (descriptor !== undefined) fchmodSync(descriptor, mode);
    const { mtimeNs } = lstatSync(at(path), { bigint: true });
    written.push({
      id,
      sizeBytes: this.#sizeBytes,
      mtimeNs: String(mtimeNs),
      sha256: this.#hash.digest('hex'),
    });
    if (this.#twin !== undefined) closeSync(this.#twin);
    if (descriptor !== undefined) closeFlushed(descriptor, this.#sizeBytes);
  }

  /** It is not the same after all: what was the same so far is copied. */
  #part(): void {
    const twin = this.#twin;
    if (twin === undefined) return;
    this.#target = create(this.#command.path);
    for (let offset = 0; offset < this.#sizeBytes;) {
      const length = Math.min(scratch.length, this.#sizeBytes - offset);
      const read = readSync(twin, scratch, 0, length, offset);
      if (read === 0) throw new Error('a file of another version became shorter while it was read');
      writeAll(this.#target, scratch.subarray(0, read));
      offset += read;
    }
    closeSync(twin);
    this.#twin = undefined;
  }
}

function openTwin(twin: Fingerprint & { at: string }): number | undefined {
  try {
    const descriptor = openSync(twin.at, constants.O_RDONLY | constants.O_NOFOLLOW);
    if (fits(fstatSync(descriptor, { bigint: true }), twin)) return descriptor;
    closeSync(descriptor);
  } catch {
    // It is only a chance to write less.
  }
  return undefined;
}

function isNext(twin: number, offset: number, bytes: Uint8Array): boolean {
  for (let done = 0; done < bytes.length;) {
    const length = Math.min(scratch.length, bytes.length - done);
    const read = readSync(twin, scratch, 0, length, offset + done);
    if (read === 0 || scratch.compare(bytes, done, done + read, 0, read) !== 0) return false;
    done += read;
  }
  return true;
}

/** False where this file cannot be linked here. Looks at what was linked, not at what was there before. */
function tryLink(from: string, path: string, expected: Fingerprint): boolean {
  try {
    linkSync(from, at(path));
  } catch {
    return false;
  }
  if (fits(lstatSync(at(path), { bigint: true }), expected)) return true;
  unlinkSync(at(path));
  return false;
}

function fits(
  stats: { isFile(): boolean; size: bigint; mtimeNs: bigint; mode: bigint },
  { sizeBytes, mtimeNs, mode }: Fingerprint,
): boolean {
  return (
    stats.isFile() &&
    stats.size === BigInt(sizeBytes) &&
    String(stats.mtimeNs) === mtimeNs &&
    (stats.mode & 0o7777n) === BigInt(mode)
  );
}

function create(path: string): number {
  return openSync(at(path), 'wx', 0o600);
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  bytesWritten += bytes.length;
  for (let offset = 0; offset < bytes.length;)
    offset += writeSync(descriptor, bytes, offset, bytes.length - offset);
}

/** One at a time: the threads that wait for the disk are those that decompress, too. */
let flushing: Promise<void> = Promise.resolve();

function closeFlushed(descriptor: number, sizeBytes: number): void {
  if (sizeBytes < EARLY_FLUSH_BYTES) {
    closeSync(descriptor);
    return;
  }
  flushing = flushing.then(() => flushAndClose(descriptor));
}

function flushAndClose(descriptor: number): Promise<void> {
  return new Promise((resolve) => {
    fdatasync(descriptor, (error) => {
      if (error !== null) fail(error);
      close(descriptor, () => {
        resolve();
      });
    });
  });
}

/** A file that is never shared with another version, or that lies in no version. */
function copy({ id, from, path, mode, sha256 }: Extract<Command, { kind: 'copy' }>): void {
  const source = openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const target = new OpenFile({ kind: 'open', id, path, mode });
    for (;;) {
      const read = readSync(source, scratch, 0, scratch.length, null);
      if (read === 0) break;
      target.write(scratch.subarray(0, read));
    }
    target.end();
  } finally {
    closeSync(source);
  }
  if (written.at(-1)?.sha256 !== sha256)
    throw Object.assign(new Error('the file changed while it was copied'), { from });
}

function link(command: Extract<Command, { kind: 'link' }>): void {
  const { id, from, path, mode, sizeBytes, mtimeNs, sha256 } = command;
  if (tryLink(from, path, command)) written.push({ id, sizeBytes, mtimeNs, sha256 });
  else copy({ kind: 'copy', id, from, path, mode, sha256 });
}

function obey(command: Command): void {
  switch (command.kind) {
    case 'directory':
      mkdirSync(at(command.path), { mode: 0o755 });
      return;
    case 'symlink':
      symlinkSync(command.target, at(command.path));
      return;
    case 'hardLink':
      linkSync(at(command.source), at(command.path));
      return;
    case 'remove':
      unlinkSync(at(command.path));
      return;
    case 'open':
      open = new OpenFile(command);
      return;
    case 'write': {
      const start = command.slot * slotBytes;
      open?.write(slots.subarray(start, start + command.length));
      return;
    }
    case 'end':
      open?.end();
      open = undefined;
      return;
    case 'link':
      link(command);
      return;
    case 'copy':
      copy(command);
      return;
    case 'drain':
      drain();
  }
}

function drain(): void {
  void flushing.then(() => {
    if (!failed) reply({ kind: 'drained', written, bytesWritten });
    written = [];
  });
}

function fail(thrown: unknown): void {
  if (failed) return;
  failed = true;
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const { code, syscall, from } = error as NodeJS.ErrnoException & { from?: string };
  reply({
    kind: 'failed',
    message: error.message,
    ...(code === undefined ? {} : { code }),
    ...(syscall === undefined ? {} : { syscall }),
    ...(from === undefined ? {} : { from }),
  });
}

function reply(message: Reply): void {
  parentPort?.postMessage(message);
}

parentPort?.on('message', (command: Command) => {
  try {
    if (!failed) obey(command);
  } catch (error) {
    fail(error);
  }
  if (command.kind === 'write') reply({ kind: 'free', slot: command.slot });
});
