/**
 * One file that is being written: hashed, and brought to disk past the page cache where that is possible.
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
  write,
  writeSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
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

/** Waits for the disk while the next bytes are hashed. One thing at a time: its threads have other work, too. */
export class DiskQueue {
  #last: Promise<void> = Promise.resolve();
  readonly #fail: (thrown: unknown) => void;

  constructor(fail: (thrown: unknown) => void) {
    this.#fail = fail;
  }

  add(work: () => Promise<void>): void {
    this.#last = this.#last.then(work).catch(this.#fail);
  }

  /** Resolves when all that was added before is done, or has failed. */
  idle(): Promise<void> {
    return this.#last;
  }
}

export class OpenFile {
  readonly #at: string;
  readonly #queue: DiskQueue;
  readonly #hash = createHash('sha256');
  readonly #isDirect: boolean;
  #descriptor: number;
  #sizeBytes = 0;

  /** `at` must not exist. `sizeBytes` is what is expected, or 0 when each chunk shall be written before the next. */
  constructor(at: string, mode: number, sizeBytes: number, queue: DiskQueue) {
    this.#at = at;
    this.#queue = queue;
    const direct = sizeBytes < SMALLEST_DIRECT_BYTES ? undefined : openDirect(at);
    this.#isDirect = direct !== undefined;
    this.#descriptor = direct ?? openSync(at, 'wx', 0o600);
    fchmodSync(this.#descriptor, mode);
  }

  /**
   * Every chunk but the last has whole blocks. What lies behind the last one in its memory is overwritten.
   * `done` is called when the memory may be used again.
   */
  write({ memory, length }: Chunk, done: () => void): void {
    const bytes = memory.subarray(0, length);
    const position = this.#sizeBytes;
    if (this.#isDirect) {
      const blocks = Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES;
      memory.fill(0, length, blocks);
      this.#queue.add(async () => {
        for (let offset = 0; offset < blocks;)
          offset += await this.#writeBlocks(memory.subarray(offset, blocks), position + offset);
        done();
      });
    } else {
      for (let offset = 0; offset < length;)
        offset += writeSync(this.#descriptor, bytes, offset, length - offset, position + offset);
    }
    this.#hash.update(bytes);
    this.#sizeBytes += length;
    if (!this.#isDirect) done();
  }

  /** `report` is called when the file is whole, though perhaps not yet on disk. */
  end(report: (file: Omit<WrittenFile, 'id'>) => void): void {
    const sizeBytes = this.#sizeBytes;
    const sha256 = this.#hash.digest('hex');
    const finish = (): void => {
      ftruncateSync(this.#descriptor, sizeBytes);
      const { mtimeNs } = fstatSync(this.#descriptor, { bigint: true });
      report({ sizeBytes, mtimeNs: String(mtimeNs), sha256 });
    };
    if (this.#isDirect) {
      this.#queue.add(() => {
        finish();
        return this.#close();
      });
      return;
    }
    finish();
    if (sizeBytes < SMALLEST_EARLY_FLUSH_BYTES) closeSync(this.#descriptor);
    else
      this.#queue.add(async () => {
        await finished((callback) => {
          fdatasync(this.#descriptor, callback);
        });
        await this.#close();
      });
  }

  #close(): Promise<void> {
    return finished((callback) => {
      close(this.#descriptor, callback);
    });
  }

  async #writeBlocks(blocks: Uint8Array, position: number): Promise<number> {
    try {
      return await writeAt(this.#descriptor, blocks, position);
    } catch (error) {
      if (errno(error) !== 'EINVAL') throw error;
      // The file system took the flag and cannot do it after all.
      closeSync(this.#descriptor);
      this.#descriptor = openSync(this.#at, 'r+');
      return writeAt(this.#descriptor, blocks, position);
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

function writeAt(descriptor: number, bytes: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(descriptor, bytes, 0, bytes.length, position, (error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
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
