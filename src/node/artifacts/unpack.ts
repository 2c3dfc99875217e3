/**
 * One archive, streamed into a tree: hashed, decompressed and unpacked in a single pass.
 *
 * Owns the translation of what tar, the decompressors and the file system report into the error table.
 * Whether the hash is the wanted one is for the caller to judge, before the tree becomes visible.
 */
import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { extract, type Header } from 'tar-stream';
import { KataError, causeOf } from '../../errors.ts';
import { MAGIC_BYTES, decompress, detectFormat } from './formats.ts';
import type { TreeModel } from './treeModel.ts';
import type { TreeWriter } from './treeWriter.ts';

export interface UnpackOptions {
  /** What people call the archive: a file name or URL. */
  readonly archive: string;
  readonly compressed: AsyncIterable<Uint8Array>;
  readonly model: TreeModel;
  readonly writer: TreeWriter;
  readonly signal: AbortSignal;
}

/** Returns the sha256 of the compressed bytes. Throws KATA_E_ARTIFACT_FORMAT, KATA_E_ARTIFACT_HOSTILE, KATA_E_IO, KATA_E_DISK_SPACE. */
export async function unpackArchive({
  archive,
  compressed,
  model,
  writer,
  signal,
}: UnpackOptions): Promise<string> {
  const hash = createHash('sha256');
  const source = new Peekable(hashed(compressed, hash));
  const tar = extract();
  let entries = 0;
  try {
    const format = detectFormat(await source.head(MAGIC_BYTES));
    if (format === undefined) throw formatError(archive, 'it is neither zstd nor xz nor gzip');
    const feeding = pipeline(decompress(format, source), tar, { signal });
    feeding.catch(() => undefined); // awaited below; until then the reader of `tar` sees the same error
    for await (const entry of tar) {
      entries += 1;
      await writer.place(
        model.accept(archive, describe(entry.header)),
        entry as AsyncIterable<Uint8Array>,
      );
      entry.resume();
    }
    await feeding;
  } catch (error) {
    tar.destroy();
    throw translate(error, archive, signal);
  }
  if (entries === 0) throw formatError(archive, 'it holds nothing');
  return hash.digest('hex');
}

function describe({
  name,
  type,
  mode,
  size,
  linkname,
}: Header): Parameters<TreeModel['accept']>[1] {
  return {
    name,
    // One that tar-stream does not know is null, whatever its types say: it is refused like any other.
    type,
    mode,
    sizeBytes: type === 'file' || type === 'contiguous-file' ? size : 0,
    linkname,
  };
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
      this.#seen.push(next.value);
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
  if (/invalid tar header/i.test(text)) return 'it holds no tar archive';
  return text;
}
