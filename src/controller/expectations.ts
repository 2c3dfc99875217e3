/**
 * What was written and is not yet seen in the cache. A decision from a cache that lags behind our own
 * writes could claim more nodes than the budget allows, so it waits until they are seen.
 */
import type { WrittenKind } from './writes.ts';

/** After this the write is taken as overtaken: the watch may have skipped over it. */
export const EXPIRE_MS = 5_000;

interface Expectation {
  /** resourceVersion in the cache when the write was decided; empty for an object that was not there. */
  readonly seen: string;
  /** resourceVersion that the write gave the object. */
  readonly written: string;
  readonly atMs: number;
}

export class Expectations {
  readonly #pending = new Map<string, Expectation>();
  readonly #monotonicMs: () => number;

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs;
  }

  /** `seen` is the resourceVersion in the cache at the decision; a write that changed nothing is not waited for. */
  wrote(
    kind: WrittenKind,
    name: string,
    seen: string | undefined,
    written: string | undefined,
  ): void {
    if (seen === undefined || written === undefined || seen === written) return;
    this.#pending.set(`${kind}/${name}`, { seen, written, atMs: this.#monotonicMs() });
  }

  /** True while the cache does not show one of our writes. */
  isBehind(cached: (kind: WrittenKind, name: string) => string | undefined): boolean {
    for (const [key, expectation] of this.#pending) {
      const slash = key.indexOf('/');
      const version = cached(key.slice(0, slash) as WrittenKind, key.slice(slash + 1));
      const isExpired = this.#monotonicMs() - expectation.atMs > EXPIRE_MS;
      if (isExpired || shows(version, expectation)) this.#pending.delete(key);
    }
    return this.#pending.size > 0;
  }
}

/** Whether an object at this version, or its absence, has our write in it. */
function shows(version: string | undefined, { seen, written }: Expectation): boolean {
  // It was there and is gone: that is newer than anything we wrote to it.
  if (version === undefined) return seen !== '';
  if (version === written) return true;
  // A version may stand between the two: another's write that came just before ours.
  const order = compareVersions(version, written);
  return order !== undefined && order > 0;
}

const DECIMAL = /^[1-9][0-9]*$/;

/**
 * Of one object, as Kubernetes orders them: whole numbers of any length, the greater is the newer. Undefined when
 * a server numbers otherwise; then only equality says anything.
 */
function compareVersions(a: string, b: string): number | undefined {
  if (!DECIMAL.test(a) || !DECIMAL.test(b)) return undefined;
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : Number(a > b);
}
