/**
 * Keys that need work, with client-go's promises: first in, first out; a key waits at most once; a key is
 * never worked on twice at the same time; a key added while it is worked on comes again afterwards.
 * It carries names only: whoever takes one looks at the state of the world then.
 */
import { systemClock, type Clock } from './clock.ts';
import { DEFAULT_RATE_LIMITS, RateLimiter, type RateLimits } from './rateLimiter.ts';

export interface WorkQueueOptions {
  readonly clock?: Clock;
  readonly rateLimits?: Partial<RateLimits>;
}

interface Waiting {
  readonly readyAtMs: number;
  readonly cancel: () => void;
}

export class WorkQueue {
  readonly #clock: Clock;
  readonly #limiter: RateLimiter;
  /** Keys to hand out, oldest first. Each is also dirty and is not being processed. */
  readonly #queue = new Set<string>();
  /** Keys that need work, whether in the queue or to be queued again when done. */
  readonly #dirty = new Set<string>();
  readonly #processing = new Set<string>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #takers: ((key: string | undefined) => void)[] = [];
  #shuttingDown = false;

  constructor(options: WorkQueueOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#limiter = new RateLimiter(this.#clock, { ...DEFAULT_RATE_LIMITS, ...options.rateLimits });
  }

  /** Needs work now. A later time asked for with addAfter stays. */
  add(key: string): void {
    if (this.#shuttingDown || this.#dirty.has(key)) return;
    this.#dirty.add(key);
    if (this.#processing.has(key)) return;
    this.#queue.add(key);
    this.#handOut();
  }

  /** Needs work after that time. Of several times the earliest counts. */
  addAfter(key: string, delayMs: number): void {
    if (this.#shuttingDown) return;
    if (delayMs <= 0) {
      this.add(key);
      return;
    }
    const readyAtMs = this.#clock.monotonicMs() + delayMs;
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined && waiting.readyAtMs <= readyAtMs) return;
    waiting?.cancel();
    const cancel = this.#clock.setTimer(delayMs, () => {
      this.#waiting.delete(key);
      this.add(key);
    });
    this.#waiting.set(key, { readyAtMs, cancel });
  }

  /** Failed: comes again after a time that grows with every failure. */
  addRateLimited(key: string): void {
    if (this.#shuttingDown) return;
    this.addAfter(key, this.#limiter.failedMs(key));
  }

  /** Succeeded: the next failure starts with the shortest time. */
  forget(key: string): void {
    this.#limiter.forget(key);
  }

  /** How often addRateLimited was called since forget. */
  failures(key: string): number {
    return this.#limiter.failures(key);
  }

  /**
   * The next key, as soon as there is one. Undefined when the queue is shut down and empty, or the signal
   * is aborted. Every key must be given back by done.
   */
  get(signal: AbortSignal): Promise<string | undefined> {
    return new Promise((resolve) => {
      if (signal.aborted) {
        resolve(undefined);
        return;
      }
      const take = (key: string | undefined): void => {
        signal.removeEventListener('abort', onAbort);
        resolve(key);
      };
      const onAbort = (): void => {
        const index = this.#takers.indexOf(take);
        if (index >= 0) this.#takers.splice(index, 1);
        resolve(undefined);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#takers.push(take);
      this.#handOut();
    });
  }

  /** The work on a key that get returned has ended, well or not. */
  done(key: string): void {
    if (!this.#processing.delete(key)) return;
    if (this.#dirty.has(key)) this.#queue.add(key);
    this.#handOut();
  }

  /** Takes no more keys; what is queued is still handed out, what waits for its time is dropped. */
  shutDown(): void {
    this.#shuttingDown = true;
    for (const { cancel } of this.#waiting.values()) cancel();
    this.#waiting.clear();
    this.#handOut();
  }

  /** Keys ready to be taken. */
  get depth(): number {
    return this.#queue.size;
  }

  #handOut(): void {
    for (const key of this.#queue) {
      const take = this.#takers.shift();
      if (take === undefined) return;
      this.#queue.delete(key);
      this.#dirty.delete(key);
      this.#processing.add(key);
      take(key);
    }
    if (!this.#shuttingDown) return;
    for (const take of this.#takers.splice(0)) take(undefined);
  }
}
