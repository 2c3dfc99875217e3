/**
 * Tells handlers again what they failed to take, ever more rarely while they keep failing.
 * Owns the timer; what is told, and to whom, is the store's.
 */
import { backoffMs, type Clock } from './clock.ts';
import type { Store } from './store.ts';

const MAX_PAUSE_MS = 30_000;

export class Redelivery {
  readonly #store: Pick<Store<unknown>, 'hasUndelivered' | 'redeliver'>;
  readonly #clock: Clock;
  readonly #firstPauseMs: number;
  #cancelTimer: (() => void) | undefined;
  #failures = 0;

  constructor(
    store: Pick<Store<unknown>, 'hasUndelivered' | 'redeliver'>,
    clock: Clock,
    firstPauseMs: number,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#firstPauseMs = firstPauseMs;
  }

  /** After a delivery: comes back to what was not taken, if anything. */
  planIfNeeded(): void {
    if (!this.#store.hasUndelivered || this.#cancelTimer !== undefined) return;
    const bounds = { baseMs: this.#firstPauseMs, maxMs: MAX_PAUSE_MS };
    const waitMs = backoffMs(this.#clock, this.#failures, bounds);
    this.#cancelTimer = this.#clock.setTimer(waitMs, () => {
      this.#cancelTimer = undefined;
      this.#store.redeliver();
      this.#failures = this.#store.hasUndelivered ? this.#failures + 1 : 0;
      this.planIfNeeded();
    });
  }

  cancel(): void {
    this.#cancelTimer?.();
  }
}
