/** Cuts a byte stream into JSON values, one per line, as watch streams send them. */

/** etcd holds objects of 1.5 MB; a line of this size is no object. */
const MAX_LINE_BYTES = 32 * 1024 * 1024;
const NEWLINE = 0x0a;

export class JsonLines {
  #pieces: Buffer[] = [];
  #bytes = 0;

  /** Values that this chunk completes. Throws SyntaxError on a line that is not JSON. */
  *push(chunk: Buffer): Generator {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      if (end < 0) break;
      const line = this.#take(chunk.subarray(start, end));
      start = end + 1;
      if (line !== '') yield JSON.parse(line) as unknown;
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start));
  }

  /** True when the stream ended in the middle of a line. */
  get hasRest(): boolean {
    return this.#bytes > 0;
  }

  #take(tail: Buffer): string {
    const line = this.#pieces.length === 0 ? tail : Buffer.concat([...this.#pieces, tail]);
    this.#pieces = [];
    this.#bytes = 0;
    return line.toString('utf8').trim();
  }

  #keep(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    if (this.#bytes > MAX_LINE_BYTES) {
      throw new SyntaxError(`a line of more than ${MAX_LINE_BYTES} bytes`);
    }
  }
}
