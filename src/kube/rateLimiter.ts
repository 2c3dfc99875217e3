/** How long a failed key waits: longer with each failure of its own, and never more in all than a bucket allows. */
import type { Clock } from './clock.ts';

/** Holds `burst` tokens, refilled at a steady rate. Reservations may go into debt; their wait pays it back. */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #filledAtMs: number;

  constructor(clock: Clock, limits: { perSecond: number; burst: number }) {
    this.#clock = clock;
    this.#perSecond = limits.perSecond;
    this.#burst = limits.burst;
    this.#tokens = limits.burst;
    this.#filledAtMs = clock.monotonicMs();
  }

  /** Takes a token and returns how long to wait until it is there. */
  reserveMs(): number {
    this.#fill();
    this.#tokens -= 1;
    return this.#tokens >= 0 ? 0 : (-this.#tokens / this.#perSecond) * 1000;
  }

  /** Takes a token if there is one. */
  tryTake(): boolean {
    this.#fill();
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  #fill(): void {
    const nowMs = this.#clock.monotonicMs();
    const gained = ((nowMs - this.#filledAtMs) / 1000) * this.#perSecond;
    this.#tokens = Math.min(this.#burst, this.#tokens + gained);
    this.#filledAtMs = nowMs;
  }
}

export interface RateLimits {
  /** First wait of a key; doubles with every failure. */
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  /** Over all keys. */
  readonly perSecond: number;
  readonly burst: number;
}

/** The limits of client-go's default controller rate limiter. */
export const DEFAULT_RATE_LIMITS: RateLimits = {
  baseDelayMs: 5,
  maxDelayMs: 1_000_000,
  perSecond: 10,
  burst: 100,
};

export class RateLimiter {
  readonly #limits: RateLimits;
  readonly #bucket: TokenBucket;
  readonly #failures = new Map<string, number>();

  constructor(clock: Clock, limits: RateLimits) {
    this.#limits = limits;
    this.#bucket = new TokenBucket(clock, limits);
  }

  /** Counts a failure of this key and returns how long it should wait. */
  failedMs(key: string): number {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const ownMs = this.#limits.baseDelayMs * 2 ** Math.min(failures, 60);
    return Math.max(Math.min(ownMs, this.#limits.maxDelayMs), this.#bucket.reserveMs());
  }

  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  forget(key: string): void {
    this.#failures.delete(key);
  }
}
