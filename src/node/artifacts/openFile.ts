/**
 * One file that is being written, past the page cache where that is possible.
 *
 * A gigabyte in the page cache would push out what the Pods of the node have there, and has to be flushed
 * in the end; memory that was never used before makes it slow as well. Direct writes need whole blocks
 * from memory at whole pages, so the last one is padded and the file cut afterwards. Small files and file
 * systems that know no direct writes take the usual way.
 */
import {
  close,
  closeSync,
  constants,
  fchmodSync,
  fdatasync,
  fstatSync,
  ftruncateSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs';
import type { WrittenFile } from './fileThreadProtocol.ts';

const BLOCK_BYTES = 4096;
const SMALLEST_DIRECT_BYTES = 1024 * 1024;
// Below it, one flush of the whole file system at the end is cheaper than one for each file.
const SMALLEST_EARLY_FLUSH_BYTES = 4 * 1024 * 1024;

/** `length` bytes of the memory count. */
export interface Chunk {
  readonly memory: Uint8Array;
  readonly length: number;
}

/** Flushes that go on while the next files are written. One at a time: they share threads with other work. */
export class FlushQueue {
  #last: Promise<void> = Promise.resolve();
  readonly #fail: (thrown: unknown) => void;

  constructor(fail: (thrown: unknown) => void) {
    this.#fail = fail;
  }

  flushAndClose(descriptor: number): void {
    this.#last = this.#last
      .then(() =>
        finished((callback) => {
          fdatasync(descriptor, callback);
        }),
      )
      .then(() =>
        finished((callback) => {
          close(descriptor, callback);
        }),
      )
      .catch(this.#fail);
  }

  /** Resolves when all that was added before is done, or has failed. */
  idle(): Promise<void> {
    return this.#last;
  }
}

export class OpenFile {
  readonly #at: string;
  readonly #queue: FlushQueue;
  #descriptor: number;
  #isDirect: boolean;
  #sizeBytes = 0;

  /** `at` must not exist. `sizeBytes` is what is expected, as far as it is known. */
  constructor(at: string, mode: number, sizeBytes: number, queue: FlushQueue) {
    this.#at = at;
    this.#queue = queue;
    const direct = sizeBytes < SMALLEST_DIRECT_BYTES ? undefined : openDirect(at);
    this.#isDirect = direct !== undefined;
    this.#descriptor = direct ?? openSync(at, 'wx', 0o600);
    fchmodSync(this.#descriptor, mode);
  }

  /** Every chunk but the last has whole blocks. What lies behind the last one in its memory is overwritten. */
  write({ memory, length }: Chunk): void {
    if (this.#isDirect) {
      const blocks = Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES;
      memory.fill(0, length, blocks);
      this.#writeBlocks(memory.subarray(0, blocks));
    } else this.#writeAll(memory.subarray(0, length));
    this.#sizeBytes += length;
  }

  end(): Omit<WrittenFile, 'id'> {
    const descriptor = this.#descriptor;
    ftruncateSync(descriptor, this.#sizeBytes);
    const { mtimeNs } = fstatSync(descriptor, { bigint: true });
    if (this.#isDirect || this.#sizeBytes < SMALLEST_EARLY_FLUSH_BYTES) closeSync(descriptor);
    else this.#queue.flushAndClose(descriptor);
    return { sizeBytes: this.#sizeBytes, mtimeNs: String(mtimeNs) };
  }

  #writeBlocks(blocks: Uint8Array): void {
    try {
      this.#writeAll(blocks);
    } catch (error) {
      if (errno(error) !== 'EINVAL') throw error;
      // The file system took the flag and cannot do it after all.
      closeSync(this.#descriptor);
      this.#descriptor = openSync(this.#at, 'r+');
      this.#isDirect = false;
      this.#writeAll(blocks);
    }
  }

  #writeAll(bytes: Uint8Array): void {
    for (let offset = 0; offset < bytes.length;) {
      const position = this.#sizeBytes + offset;
      offset += writeSync(this.#descriptor, bytes, offset, bytes.length - offset, position);
    }
  }
}

/** Undefined where the file system has no direct writes. */
function openDirect(at: string): number | undefined {
  const { O_CREAT, O_EXCL, O_WRONLY, O_DIRECT } = constants;
  try {
    return openSync(at, O_CREAT | O_EXCL | O_WRONLY | O_DIRECT, 0o600);
  } catch (error) {
    if (errno(error) !== 'EINVAL') throw error;
    // Some kernels have made the file by then.
    rmSync(at, { force: true });
    return undefined;
  }
}

function errno(thrown: unknown): unknown {
  return thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
}

function finished(
  start: (callback: (error: Error | null | undefined) => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}
