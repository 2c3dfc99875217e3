/**
 * The thread that writes a version's files: it writes, links and copies what the main thread tells it to,
 * in that order, so that reading, decompressing and hashing go on while it waits for the disk.
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
import { createHash } from 'node:crypto';
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
import { FlushQueue, OpenFile, type Chunk } from './openFile.ts';
import { Twin, fits, readFully } from './twin.ts';

const { root, shared, slotBytes } = workerData as ThreadData;
const at = (path: string): string => join(root, path);
const slot = (index: number): Uint8Array => new Uint8Array(shared, index * slotBytes, slotBytes);
// The one that the main thread does not know of.
const scratch = slot(shared.byteLength / slotBytes - 1);

const queue = new FlushQueue(fail);
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

function writeFile(chunk: Chunk): void {
  if (open === undefined || open.twin?.isNext(chunk) === true) return;
  const file = open.file ?? part(open.command, open.twin);
  open = { command: open.command, file };
  bytesWritten += chunk.length;
  file.write(chunk);
}

/** It is not the same after all: what was the same so far is copied. */
function part(command: Extract<Command, { kind: 'open' }>, twin: Twin | undefined): OpenFile {
  const file = create(command);
  for (const chunk of twin?.compared() ?? []) {
    bytesWritten += chunk.length;
    file.write(chunk);
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
  else written.push({ id, ...(open.file ?? part(command, twin)).end() });
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
function copy(command: FileCommand & { from: string; sizeBytes: number; sha256: string }): void {
  const { id, from, sha256 } = command;
  const hash = createHash('sha256');
  const source = openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const file = create(command);
    for (let offset = 0; ;) {
      const length = readFully(source, scratch, offset);
      if (length === 0) break;
      hash.update(scratch.subarray(0, length));
      bytesWritten += length;
      file.write({ memory: scratch, length });
      offset += length;
    }
    written.push({ id, ...file.end() });
  } finally {
    closeSync(source);
  }
  if (hash.digest('hex') !== sha256)
    throw Object.assign(new Error('the file changed while it was copied'), { from });
}

function link(command: Extract<Command, { kind: 'link' }>): void {
  const { id, from, path, sizeBytes, mtimeNs } = command;
  if (tryLink(from, path, command)) written.push({ id, sizeBytes, mtimeNs });
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

parentPort?.on('message', (command: Command) => {
  if (failed) return;
  try {
    if (command.kind === 'write') {
      const { slot: index, length } = command;
      writeFile({ memory: slot(index), length });
      reply({ kind: 'free', slot: index });
    } else obey(command);
  } catch (error) {
    fail(error);
  }
});
