/**
 * A file of another version that may have the content of one that is being unpacked. It is compared byte by
 * byte with what comes from the archive; only reads.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import type { Fingerprint, WrittenFile } from './fileThreadProtocol.ts';
import type { Chunk } from './openFile.ts';

export class Twin {
  readonly fingerprint: Fingerprint & { readonly at: string };
  readonly #descriptor: number;
  readonly #scratch: Buffer;
  readonly #hash = createHash('sha256');
  #sameBytes = 0;

  private constructor(
    descriptor: number,
    fingerprint: Fingerprint & { readonly at: string },
    scratch: Uint8Array,
  ) {
    this.#descriptor = descriptor;
    this.fingerprint = fingerprint;
    this.#scratch = Buffer.from(scratch.buffer, scratch.byteOffset, scratch.length);
  }

  /** `scratch` takes the largest chunk. Undefined when it is not there, or not what it was when it was written. */
  static open(
    fingerprint: Fingerprint & { readonly at: string },
    scratch: Uint8Array,
  ): Twin | undefined {
    try {
      const descriptor = openSync(fingerprint.at, constants.O_RDONLY | constants.O_NOFOLLOW);
      if (fits(fstatSync(descriptor, { bigint: true }), fingerprint))
        return new Twin(descriptor, fingerprint, scratch);
      closeSync(descriptor);
    } catch {
      // It is only a chance to write less.
    }
    return undefined;
  }

  /** Whether the chunk is what comes next here; then it counts as compared. */
  isNext({ memory, length }: Chunk): boolean {
    const read = readFully(this.#descriptor, this.#scratch.subarray(0, length), this.#sameBytes);
    if (read !== length || this.#scratch.compare(memory, 0, length, 0, length) !== 0) return false;
    this.#hash.update(memory.subarray(0, length));
    this.#sameBytes += length;
    return true;
  }

  get sameBytes(): number {
    return this.#sameBytes;
  }

  isWhole(): boolean {
    return this.#sameBytes === this.fingerprint.sizeBytes;
  }

  /** What was compared, once more, in chunks that are valid until the next one. */
  *compared(): Generator<Chunk> {
    for (let offset = 0; offset < this.#sameBytes;) {
      const wanted = Math.min(this.#scratch.length, this.#sameBytes - offset);
      const length = readFully(this.#descriptor, this.#scratch.subarray(0, wanted), offset);
      if (length !== wanted)
        throw new Error('a file of another version became shorter while it was read');
      yield { memory: this.#scratch, length };
      offset += length;
    }
  }

  /** When it was linked. */
  end(): Omit<WrittenFile, 'id'> {
    this.close();
    const { sizeBytes, mtimeNs } = this.fingerprint;
    return { sizeBytes, mtimeNs, sha256: this.#hash.digest('hex') };
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

/** Whether a file is still what it was. */
export function fits(
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

/** Fills `memory`, unless the file ends before. Returns the bytes that were read. */
export function readFully(descriptor: number, memory: Uint8Array, position: number): number {
  for (let done = 0; ;) {
    const read = readSync(descriptor, memory, done, memory.length - done, position + done);
    done += read;
    if (read === 0 || done === memory.length) return done;
  }
}
