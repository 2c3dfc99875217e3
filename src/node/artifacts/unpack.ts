/**
 * One archive, streamed into a tree: hashed, decompressed and unpacked in a single pass.
 *
 * Owns the translation of what tar, the decompressors and the file system report into the error table.
 * Whether the hash is the wanted one is for the caller to judge, before the tree becomes visible.
 */
import { createHash } from 'node:crypto';
import { KataError, causeOf } from '../../errors.ts';
import { MAGIC_BYTES, decompress, detectFormat } from './formats.ts';
import { readTar } from './tarReader.ts';
import type { Reusable } from './reuse.ts';
import type { Placement, TreeModel } from './treeModel.ts';
import type { TreeWriter } from './treeWriter.ts';

export interface UnpackOptions {
  /** What people call the archive: a file name or URL. */
  readonly archive: string;
  readonly compressed: AsyncIterable<Uint8Array>;
  readonly model: TreeModel;
  readonly writer: TreeWriter;
  /** Files of other versions that may be the same. */
  readonly reusable?: Pick<Reusable, 'twinOf'>;
  readonly signal: AbortSignal;
}

/** Returns the sha256 of the compressed bytes. Throws KATA_E_ARTIFACT_FORMAT, KATA_E_ARTIFACT_HOSTILE, KATA_E_IO, KATA_E_DISK_SPACE. */
export async function unpackArchive({
  archive,
  compressed,
  model,
  writer,
  reusable,
  signal,
}: UnpackOptions): Promise<string> {
  const hash = createHash('sha256');
  const source = new Peekable(hashed(compressed, hash));
  const twin = (placement: Placement, sizeBytes: number) =>
    placement.kind === 'file'
      ? reusable?.twinOf(placement.path, sizeBytes, placement.mode)
      : undefined;
  let entries = 0;
  try {
    const format = detectFormat(await source.head(MAGIC_BYTES));
    if (format === undefined) throw formatError(archive, 'it is neither zstd nor xz nor gzip');
    for await (const event of readTar(decompress(format, source))) {
      if (event.kind === 'content') {
        await writer.write(event.bytes, signal);
        continue;
      }
      signal.throwIfAborted();
      entries += 1;
      const placement = model.accept(archive, event.entry);
      const { sizeBytes } = event.entry;
      writer.place(placement, sizeBytes, twin(placement, sizeBytes));
    }
  } catch (error) {
    throw translate(error, archive, signal);
  }
  if (entries === 0) throw formatError(archive, 'it holds nothing');
  return hash.digest('hex');
}

async function* hashed(
  source: AsyncIterable<Uint8Array>,
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    hash.update(chunk);
    yield chunk;
  }
}

/** A stream whose first bytes can be looked at before it is read. */
class Peekable implements AsyncIterable<Uint8Array> {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #seen: Uint8Array[] = [];

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async head(bytes: number): Promise<Uint8Array> {
    let length = 0;
    while (length < bytes) {
      const next = await this.#source.next();
      if (next.done === true) break;
      // A source that gives so little at a time may use its memory again.
      this.#seen.push(next.value.length < bytes ? Buffer.from(next.value) : next.value);
      length += next.value.length;
    }
    return Buffer.concat(this.#seen).subarray(0, bytes);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      yield* this.#seen;
      for (
        let next = await this.#source.next();
        next.done !== true;
        next = await this.#source.next()
      )
        yield next.value;
    } finally {
      await this.#source.return?.();
    }
  }
}

function formatError(archive: string, cause: string, thrown?: unknown): KataError {
  return new KataError('KATA_E_ARTIFACT_FORMAT', { archive, cause }, { cause: thrown });
}

/** Errors with a system call come from the disk; all others that are not ours come from the archive. */
function translate(error: unknown, archive: string, signal: AbortSignal): unknown {
  if (error instanceof KataError) return error;
  if (signal.aborted) return signal.reason;
  if (error instanceof Error && 'syscall' in error) return error;
  return formatError(archive, cause(error), error);
}

function cause(error: unknown): string {
  const text = causeOf(error);
  if (/unexpected end/i.test(text)) return 'it ends too early';
  return text;
}
