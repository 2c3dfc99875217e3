/**
 * Compressed archives: which format a stream has, told by its first bytes, and its decompression.
 *
 * Owns zstd, xz and gzip. It must never trust a file name, and never end quietly before the input does:
 * an archive that is cut off or followed by something else is an error.
 */
import { once } from 'node:events';
import { PassThrough, Readable, type Writable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { createGunzip, createZstdDecompress, type ZstdDecompress } from 'node:zlib';
import { setImmediate } from 'node:timers/promises';
import xz from 'xz-decompress';

export type ArchiveFormat = 'zstd' | 'xz' | 'gzip';

/** Bytes that `detectFormat` needs to see. */
export const MAGIC_BYTES = 6;

// Few large buffers instead of many small ones: a release unpacks to a gigabyte.
const OUTPUT_CHUNK_BYTES = 512 * 1024;

/** Undefined when it is none of ours. */
export function detectFormat(head: Uint8Array): ArchiveFormat | undefined {
  if (startsWith(head, [0x28, 0xb5, 0x2f, 0xfd]) || isSkippableFrame(head)) return 'zstd';
  if (startsWith(head, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])) return 'xz';
  if (startsWith(head, [0x1f, 0x8b])) return 'gzip';
  return undefined;
}

/**
 * The decompressed bytes. A chunk, of what goes in as of what comes out, is valid until the next one is asked
 * for. Fails with the decompressor's own error when the input is damaged.
 */
export function decompress(
  format: ArchiveFormat,
  compressed: AsyncIterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  switch (format) {
    case 'zstd':
      return freed(zstdFrames(compressed));
    case 'xz':
      return Readable.fromWeb(new xz.XzReadableStream(ReadableStream.from<Uint8Array>(compressed)));
    case 'gzip':
      return freed(gzipMembers(compressed));
  }
}

/**
 * Gives each of a decompressor's buffers back when all of it was used. Left to the garbage collector they
 * pile up to a hundred megabytes, and every one is memory that the kernel has to clear first.
 */
async function* freed(output: Readable): AsyncGenerator<Uint8Array> {
  let held: ArrayBuffer | undefined;
  for await (const chunk of output as AsyncIterable<Uint8Array<ArrayBuffer>>) {
    // A decompressor goes on to the next buffer when one is full, and ends in its last.
    if (held !== undefined && held !== chunk.buffer) held.transfer(0);
    held = chunk.buffer.byteLength === OUTPUT_CHUNK_BYTES ? chunk.buffer : undefined;
    yield chunk;
  }
  // Only here: of one that was given up, a thread may still be writing into it.
  held?.transfer(0);
}

function gzipMembers(compressed: AsyncIterable<Uint8Array>): Readable {
  const gunzip = createGunzip({ chunkSize: OUTPUT_CHUNK_BYTES });
  const closed = once(gunzip, 'close').then(
    () => undefined,
    () => undefined,
  );
  const feed = async (): Promise<void> => {
    for await (const chunk of compressed) {
      await Promise.race([write(gunzip, chunk), closed]);
      if (gunzip.destroyed) return;
    }
    gunzip.end();
  };
  feed().catch((error: unknown) => gunzip.destroy(asError(error)));
  return gunzip;
}

/** Resolves when `chunk` was taken whole and its memory may be used again. */
function write(decoder: Writable, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    decoder.write(chunk, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

/**
 * A zstd file may hold several frames (pzstd writes it so) and skippable ones. Node's decompressor ends
 * after the first and drops the rest without a word, so each frame gets its own here.
 */
function zstdFrames(compressed: AsyncIterable<Uint8Array>): Readable {
  // Chunk by chunk: a stream of bytes would copy those that wait into one.
  const output = new PassThrough({ readableObjectMode: true, readableHighWaterMark: 2 });
  pumpFrames(compressed, output).then(
    () => output.end(),
    (error: unknown) => output.destroy(asError(error)),
  );
  return output;
}

async function pumpFrames(
  compressed: AsyncIterable<Uint8Array>,
  output: PassThrough,
): Promise<void> {
  let frame: Frame | undefined;
  for await (const chunk of compressed) {
    let rest: Uint8Array = chunk;
    while (rest.length > 0) {
      frame ??= new Frame(output);
      const unused = await frame.feed(rest);
      if (unused === undefined) break;
      frame = undefined;
      rest = rest.subarray(rest.length - unused);
    }
  }
  if (frame === undefined) return;
  await frame.finish();
}

/** One decompressor, from its first byte until it says that its frame has ended. */
class Frame {
  readonly #decoder: ZstdDecompress;
  readonly #ended: Promise<void>;
  #paused: Promise<void> | undefined;
  #over = false;
  #fedBytes = 0;

  constructor(output: PassThrough) {
    this.#decoder = createZstdDecompress({ chunkSize: OUTPUT_CHUNK_BYTES });
    this.#decoder.on('data', (data: Uint8Array) => {
      if (output.write(data)) return;
      this.#decoder.pause();
      this.#paused = once(output, 'drain').then(
        () => {
          this.#paused = undefined;
          this.#decoder.resume();
        },
        () => undefined, // whoever reads fails, and the frame is abandoned
      );
    });
    const abandoned = (): void => {
      this.#decoder.destroy(new Error('the reader went away'));
    };
    output.once('close', abandoned);
    this.#ended = once(this.#decoder, 'end').then(() => {
      this.#over = true;
      output.removeListener('close', abandoned);
    });
    // Both are for whoever feeds the frame; an error between two feeds must not end the process.
    this.#ended.catch(() => undefined);
    this.#decoder.on('error', () => undefined);
  }

  /** Undefined while the frame goes on; else how many bytes of `data` lie behind its end. */
  async feed(data: Uint8Array): Promise<number | undefined> {
    this.#fedBytes += data.length;
    await Promise.race([write(this.#decoder, data), this.#ended]);
    // Its end is told only after all that came out was passed on.
    do {
      await Promise.race([this.#paused, this.#ended]);
      await setImmediate();
    } while (this.#paused !== undefined && !this.#over);
    if (!this.#over) return undefined;
    const unusedBytes = this.#fedBytes - this.#decoder.bytesWritten;
    this.#close();
    return unusedBytes;
  }

  async finish(): Promise<void> {
    this.#decoder.end();
    await this.#ended;
    this.#close();
  }

  /** It holds megabytes outside the heap, which no garbage collector hurries to give back. */
  #close(): void {
    this.#decoder.close();
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

function startsWith(head: Uint8Array, magic: readonly number[]): boolean {
  return head.length >= magic.length && magic.every((byte, i) => head[i] === byte);
}

function isSkippableFrame(head: Uint8Array): boolean {
  return (
    head[0] !== undefined &&
    (head[0] & 0xf0) === 0x50 &&
    startsWith(head.subarray(1), [0x2a, 0x4d, 0x18])
  );
}
