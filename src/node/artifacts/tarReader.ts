/**
 * Reads a tar archive (ustar, pax, GNU long names) from chunks of any size, without copying contents.
 *
 * Owns the format and its bounds. What one reader takes for one thing and another for something else
 * (sparse files, sizes on links, data behind the end) is an error here. It judges no name: that is for
 * whoever places the entries. Its memory is bounded, whatever a header claims.
 */
import {
  BLOCK_BYTES,
  MAX_META_BYTES,
  TarError,
  metaOf,
  parseHeader,
  type Meta,
} from './tarHeader.ts';
import type { ArchiveEntry } from './treeModel.ts';

export type TarEvent =
  | { readonly kind: 'entry'; readonly entry: ArchiveEntry }
  /** Bytes of the entry before it; valid until the next event is asked for. */
  | { readonly kind: 'content'; readonly bytes: Uint8Array };

// More in a row describe no file: an archive of nothing but these would be read for ever.
const MAX_META_IN_A_ROW = 8;

/** Ends after the whole source was read. Throws TarError, and what the source throws. */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEvent> {
  const reader = new TarReader();
  for await (const chunk of source) yield* reader.push(chunk);
  reader.end();
}

/** What comes next: a header, the content of an entry or of a meta entry, its padding, or nothing but zeros. */
type State = 'header' | 'content' | 'meta' | 'padding' | 'ended';

export class TarReader {
  #state: State = 'header';
  readonly #header = new Uint8Array(BLOCK_BYTES);
  #headerBytes = 0;
  /** Of the content or padding that is being read. */
  #leftBytes = 0;
  #paddingBytes = 0;
  #metaType = '';
  #metaBuffer = new Uint8Array(0);
  #metaInARow = 0;
  #meta: Meta = {};

  *push(chunk: Uint8Array): Generator<TarEvent> {
    for (let rest = chunk; rest.length > 0;) {
      const taken = Math.min(rest.length, this.#wanted());
      const bytes = rest.subarray(0, taken);
      rest = rest.subarray(taken);
      yield* this.#take(bytes);
    }
  }

  /** To be called when there are no more chunks. */
  end(): void {
    if (this.#state !== 'ended') throw new TarError('it ends too early');
  }

  #wanted(): number {
    if (this.#state === 'header') return BLOCK_BYTES - this.#headerBytes;
    return this.#state === 'ended' ? BLOCK_BYTES : this.#leftBytes;
  }

  *#take(bytes: Uint8Array): Generator<TarEvent> {
    switch (this.#state) {
      case 'header':
        this.#header.set(bytes, this.#headerBytes);
        this.#headerBytes += bytes.length;
        if (this.#headerBytes === BLOCK_BYTES) yield* this.#endHeader();
        return;
      case 'content':
        yield { kind: 'content', bytes };
        this.#advance(bytes.length);
        return;
      case 'meta':
        this.#metaBuffer.set(bytes, this.#metaBuffer.length - this.#leftBytes);
        this.#advance(bytes.length);
        return;
      case 'padding':
        this.#leftBytes -= bytes.length;
        if (this.#leftBytes === 0) this.#state = 'header';
        return;
      case 'ended':
        if (!isZero(bytes)) throw new TarError('something follows its end');
    }
  }

  *#endHeader(): Generator<TarEvent> {
    this.#headerBytes = 0;
    if (isZero(this.#header)) {
      if (this.#metaInARow > 0) throw new TarError('it ends too early');
      this.#state = 'ended';
      return;
    }
    const header = parseHeader(this.#header);
    if (header.isMeta) {
      this.#beginMeta(header.type, header.sizeBytes);
      return;
    }
    const { path, linkpath, sizeBytes = header.sizeBytes } = this.#meta;
    this.#meta = {};
    this.#metaInARow = 0;
    const isFile = header.type === 'file' || header.type === 'contiguous-file';
    if (!isFile && sizeBytes !== 0)
      throw new TarError(`an entry of type ${header.type} claims to have content`);
    const entry: ArchiveEntry = {
      name: path ?? header.name,
      type: header.type,
      mode: header.mode,
      sizeBytes,
      linkname: linkpath ?? header.linkname,
    };
    this.#begin('content', sizeBytes);
    yield { kind: 'entry', entry };
  }

  #beginMeta(type: string, sizeBytes: number): void {
    this.#metaInARow += 1;
    if (this.#metaInARow > MAX_META_IN_A_ROW)
      throw new TarError('too many extended headers follow each other');
    if (sizeBytes > MAX_META_BYTES) throw new TarError('an extended header is too large');
    this.#metaType = type;
    this.#metaBuffer = new Uint8Array(sizeBytes);
    this.#begin('meta', sizeBytes);
  }

  #begin(state: 'content' | 'meta', sizeBytes: number): void {
    this.#state = state;
    this.#leftBytes = sizeBytes;
    this.#paddingBytes = (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
    if (sizeBytes === 0) this.#endContent();
  }

  #advance(bytes: number): void {
    this.#leftBytes -= bytes;
    if (this.#leftBytes === 0) this.#endContent();
  }

  #endContent(): void {
    if (this.#state === 'meta')
      this.#meta = { ...this.#meta, ...metaOf(this.#metaType, this.#metaBuffer) };
    this.#state = this.#paddingBytes === 0 ? 'header' : 'padding';
    this.#leftBytes = this.#paddingBytes;
  }
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
