/**
 * How old the knowledge of a cache may be: the moment at which the server is known to have agreed with it last.
 * Owns those who wait for it to be young enough; does no I/O.
 */
import { abortReason } from './clock.ts';

export class Freshness {
  #asOfMs = Number.NEGATIVE_INFINITY;
  readonly #waiting = new Set<() => void>();

  /** Monotonic; minus infinity until the cache is filled for the first time. */
  get asOfMs(): number {
    return this.#asOfMs;
  }

  /** Wakes also those for whom it is not young enough: they may want to do something about it. */
  advance(toMs: number): void {
    this.#asOfMs = Math.max(this.#asOfMs, toMs);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Resolves with the next advance; rejects with the reason of the signal. */
  next(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(abortReason(signal));
        return;
      }
      const onAbort = (): void => {
        this.#waiting.delete(wake);
        reject(abortReason(signal));
      };
      const wake = (): void => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}
