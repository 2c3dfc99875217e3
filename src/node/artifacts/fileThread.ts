/**
 * The thread that writes a version's files: it hashes, writes, links and copies what the main thread tells
 * it to, in that order, so that reading and decompressing go on meanwhile.
 *
 * It knows no archive and no rule of what may be placed where. It never opens an existing file for writing.
 * After the first failure it does nothing more.
 */
import {
  closeSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type {
  Command,
  FileCommand,
  Fingerprint,
  Reply,
  ThreadData,
  WrittenFile,
} from './fileThreadProtocol.ts';
import { DiskQueue, OpenFile, type Chunk } from './openFile.ts';
import { Twin, fits, readFully } from './twin.ts';

const { root, shared, slotBytes } = workerData as ThreadData;
const at = (path: string): string => join(root, path);
const slot = (index: number): Uint8Array => new Uint8Array(shared, index * slotBytes, slotBytes);
// The one that the main thread does not know of.
const scratch = slot(shared.byteLength / slotBytes - 1);

// As the size of a file whose chunks all come in one buffer.
const ONE_BY_ONE = 0;

const commands: Command[] = [];
let isWorking = false;
const queue = new DiskQueue(fail);
let written: WrittenFile[] = [];
let bytesWritten = 0;
let failed = false;

/** The file that is being written, or of another version as long as it proves to be the same. */
let open: { command: Extract<Command, { kind: 'open' }>; file?: OpenFile; twin?: Twin } | undefined;

function openFile(command: Extract<Command, { kind: 'open' }>): void {
  const twin = command.twin === undefined ? undefined : Twin.open(command.twin, scratch);
  open = twin === undefined ? { command, file: create(command) } : { command, twin };
}

function create({ path, mode, sizeBytes }: FileCommand & { sizeBytes: number }): OpenFile {
  return new OpenFile(at(path), mode, sizeBytes, queue);
}

function writeFile(chunk: Chunk, done: () => void): void {
  if (open === undefined || open.twin?.isNext(chunk) === true) {
    done();
    return;
  }
  const file = open.file ?? part(open.command, open.twin);
  open = { command: open.command, file };
  bytesWritten += chunk.length;
  file.write(chunk, done);
}

/** It is not the same after all: what was the same so far is copied. */
function part(command: Extract<Command, { kind: 'open' }>, twin: Twin | undefined): OpenFile {
  const isCopied = twin !== undefined && twin.sameBytes > 0;
  const file = create({ ...command, sizeBytes: isCopied ? ONE_BY_ONE : command.sizeBytes });
  for (const chunk of twin?.compared() ?? []) {
    bytesWritten += chunk.length;
    file.write(chunk, () => undefined);
  }
  twin?.close();
  return file;
}

function endFile(): void {
  if (open === undefined) return;
  const { command, twin } = open;
  const { id, path } = command;
  if (twin?.isWhole() === true && tryLink(twin.fingerprint.at, path, twin.fingerprint))
    written.push({ id, ...twin.end() });
  else
    (open.file ?? part(command, twin)).end((file) => {
      written.push({ id, ...file });
    });
  open = undefined;
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

/** A file that is never shared with another version, or that lies in no version. */
function copy(command: FileCommand & { from: string; sha256: string }): void {
  const { id, from, sha256 } = command;
  const source = openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const file = create({ ...command, sizeBytes: ONE_BY_ONE });
    for (let offset = 0; ;) {
      const length = readFully(source, scratch, offset);
      if (length === 0) break;
      bytesWritten += length;
      file.write({ memory: scratch, length }, () => undefined);
      offset += length;
    }
    file.end((copied) => {
      if (copied.sha256 !== sha256)
        throw Object.assign(new Error('the file changed while it was copied'), { from });
      written.push({ id, ...copied });
    });
  } finally {
    closeSync(source);
  }
}

function link(command: Extract<Command, { kind: 'link' }>): void {
  const { id, from, path, sizeBytes, mtimeNs, sha256 } = command;
  if (tryLink(from, path, command)) written.push({ id, sizeBytes, mtimeNs, sha256 });
  else copy(command);
}

function obey(command: Exclude<Command, { kind: 'write' }>): void {
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
      openFile(command);
      return;
    case 'end':
      endFile();
      return;
    case 'link':
      link(command);
      return;
    case 'copy':
      copy(command);
      return;
    case 'drain':
      void queue.idle().then(() => {
        if (!failed) reply({ kind: 'drained', written, bytesWritten });
        written = [];
      });
  }
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

function next(command: Command): void {
  if (command.kind !== 'write') {
    obey(command);
    return;
  }
  const { slot: index, length } = command;
  writeFile({ memory: slot(index), length }, () => {
    reply({ kind: 'free', slot: index });
  });
}

/** Lets the disk's answers in after each chunk: else it would stand idle while all that has come is hashed. */
function work(): void {
  for (let command = commands.shift(); command !== undefined; command = commands.shift()) {
    try {
      if (!failed) next(command);
    } catch (error) {
      fail(error);
    }
    if (command.kind === 'write') {
      setImmediate(work);
      return;
    }
  }
  isWorking = false;
}

parentPort?.on('message', (command: Command) => {
  commands.push(command);
  if (!isWorking) setImmediate(work);
  isWorking = true;
});
