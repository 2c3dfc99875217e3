/**
 * What was written and is not yet seen in the cache. A decision from a cache that lags behind our own
 * writes could claim more nodes than the budget allows, so it waits until they are seen.
 */
import type { WrittenKind } from './writes.ts';

/** After this the write is taken as overtaken: the watch may have skipped over it. */
const EXPIRE_MS = 5_000;

interface Expectation {
  readonly seen: string;
  readonly atMs: number;
}

export class Expectations {
  readonly #pending = new Map<string, Expectation>();
  readonly #monotonicMs: () => number;

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs;
  }

  /** `seen` is the resourceVersion in the cache at the decision; a write that changed nothing is not waited for. */
  wrote(kind: WrittenKind, name: string, seen: string | undefined, now: string | undefined): void {
    if (seen === undefined || seen === now) return;
    this.#pending.set(`${kind}/${name}`, { seen, atMs: this.#monotonicMs() });
  }

  /** True while the cache still shows the version from before one of our writes. */
  isBehind(cached: (kind: WrittenKind, name: string) => string | undefined): boolean {
    for (const [key, expectation] of this.#pending) {
      const slash = key.indexOf('/');
      const version = cached(key.slice(0, slash) as WrittenKind, key.slice(slash + 1)) ?? '';
      if (version !== expectation.seen || this.#monotonicMs() - expectation.atMs > EXPIRE_MS)
        this.#pending.delete(key);
    }
    return this.#pending.size > 0;
  }
}
