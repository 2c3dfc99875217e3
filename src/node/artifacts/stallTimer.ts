/**
 * Gives up on a server that sends nothing, or next to nothing: one that sends a byte now and then would hold a node
 * for as long as it likes.
 */

export class StallTimer {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #progressBytes: number;
  #bytes = 0;

  /** The signal is aborted when fewer than `progressBytes` come within `milliseconds`. */
  constructor(milliseconds: number, progressBytes: number) {
    this.#progressBytes = progressBytes;
    this.#timer = setTimeout(() => {
      const came = this.#bytes === 0 ? 'nothing came' : `only ${this.#bytes} bytes came`;
      this.#controller.abort(new Error(`${came} for ${milliseconds / 1000} s`));
    }, milliseconds);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < this.#progressBytes) return;
    this.#bytes = 0;
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
