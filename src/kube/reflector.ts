/**
 * A local copy of the objects of one resource, kept by list and watch for as long as its signal lives.
 * Whatever the server or the network does, it comes back: an error is a reason to wait, never to stop.
 * It must never call the server in a tight loop, nor let a handler's fault cost it an event.
 */
import {
  backoffMs,
  isAborted,
  scopeOf,
  sleep,
  systemClock,
  type Clock,
  type Scope,
} from './clock.ts';
import { ApiError, isExpired } from './errors.ts';
import { Feed } from './feed.ts';
import { Freshness } from './freshness.ts';
import { Redelivery } from './redelivery.ts';
import {
  DEFAULT_TIMING,
  type ReflectorOptions,
  type ReflectorStats,
  type ReflectorTiming,
} from './reflectorOptions.ts';
import { resourcePath } from './resource.ts';
import { Store } from './store.ts';

export class Reflector<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #clock: Clock;
  readonly #timing: ReflectorTiming;
  readonly #path: string;
  readonly #store: Store<T>;
  readonly #feed: Feed<T>;
  readonly #redelivery: Redelivery;
  readonly #freshness = new Freshness();
  readonly #faults = { errors: 0, handlerErrors: 0 };
  #started = false;
  /** Of the list, watch or pause that is under way. */
  #cycleScope: Scope | undefined;
  #isListing = false;
  #wantsList = false;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#timing = { ...DEFAULT_TIMING, ...options.timing };
    this.#path = resourcePath(options.resource, { namespace: options.namespace });
    this.#store = new Store({
      transform: options.transform,
      onChange: options.onChange,
      onFault: (key, thrown) => {
        this.#faults.handlerErrors += 1;
        options.log.error({ resource: this.#path, object: key, err: thrown }, 'change not handled');
      },
    });
    this.#redelivery = new Redelivery(this.#store, this.#clock, this.#timing.redeliverAfterMs);
    this.#feed = new Feed({
      from: options,
      path: this.#path,
      into: this.#store,
      clock: this.#clock,
      timing: this.#timing,
      onDelivered: (asOfMs) => {
        this.#delivered(asOfMs);
      },
    });
  }

  /** Runs until the signal is aborted, then returns. Can be called once. */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#started) throw new Error(`the reflector of ${this.#path} already runs`);
    this.#started = true;
    let failures = 0;
    try {
      while (!signal.aborted) {
        const scope = scopeOf(signal);
        this.#cycleScope = scope;
        try {
          const { healthy, waitMs } = await this.#cycle(scope.signal, failures);
          failures = healthy ? 0 : failures + 1;
          await sleep(this.#clock, waitMs, scope.signal);
        } catch (thrown) {
          // Cut short for a list that is wanted at once.
          if (isAborted(signal) || !scope.signal.aborted) throw thrown;
        } finally {
          scope.dispose();
        }
      }
    } catch (thrown) {
      if (!signal.aborted) throw thrown;
    } finally {
      this.#redelivery.cancel();
    }
  }

  /** Resolves when the first list is in the cache and was handed to the handler. */
  async synced(signal: AbortSignal): Promise<void> {
    while (!this.isSynced) await this.#freshness.next(signal);
  }

  get isSynced(): boolean {
    return this.#freshness.asOfMs > Number.NEGATIVE_INFINITY;
  }

  /**
   * Resolves when the cache is known to be no older than so much before this call: the watch has told something
   * since, or a list, which is asked for where it has not. A watch can be dead for minutes before it is noticed.
   */
  async fresh(maxAgeMs: number, signal: AbortSignal): Promise<void> {
    const sinceMs = this.#clock.monotonicMs() - maxAgeMs;
    while (this.#freshness.asOfMs < sinceMs) {
      this.#listNow();
      await this.#freshness.next(signal);
    }
  }

  /** `key` is `namespace/name`, or `name` for a cluster-scoped object. */
  get(key: string): T | undefined {
    return this.#store.get(key);
  }

  list(): T[] {
    return this.#store.values();
  }

  /** Time since the server last said anything: an event, a bookmark, a list. */
  lastEventAgeMs(): number {
    return this.#clock.monotonicMs() - this.#feed.heardAtMs;
  }

  get stats(): ReflectorStats {
    return { ...this.#feed.calls, ...this.#faults };
  }

  /** One list where needed and one watch; and how long to wait before the next. */
  async #cycle(
    signal: AbortSignal,
    failures: number,
  ): Promise<{ healthy: boolean; waitMs: number }> {
    let startMs: number | undefined;
    let failure: { retryAfterMs: number } | undefined;
    try {
      if (this.#needsList(failures)) await this.#listAsWanted(signal);
      startMs = this.#clock.monotonicMs();
      await this.#feed.watch(signal);
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      failure = { retryAfterMs: this.#onError(thrown) };
    }
    const livedMs = startMs === undefined ? 0 : this.#clock.monotonicMs() - startMs;
    const healthy = livedMs >= this.#timing.healthyAfterMs;
    if (healthy && failure === undefined) return { healthy, waitMs: 0 };
    const ownMs = backoffMs(this.#clock, healthy ? 0 : failures, {
      baseMs: this.#timing.backoffBaseMs,
      maxMs: this.#timing.backoffMaxMs,
    });
    return { healthy, waitMs: Math.max(ownMs, failure?.retryAfterMs ?? 0) };
  }

  #listNow(): void {
    if (this.#wantsList) return;
    this.#wantsList = true;
    // A list that is under way is let finish; another follows it.
    if (!this.#isListing) this.#cycleScope?.abort(new Error('a list is wanted at once'));
  }

  #isListWanted(): boolean {
    return this.#wantsList;
  }

  #needsList(failures: number): boolean {
    return (
      this.#wantsList ||
      this.#feed.needsList ||
      (failures > 0 && failures % this.#timing.relistAfterFailures === 0)
    );
  }

  async #listAsWanted(signal: AbortSignal): Promise<void> {
    this.#isListing = true;
    try {
      do {
        this.#wantsList = false;
        await this.#feed.list(signal);
      } while (this.#isListWanted());
    } catch (thrown) {
      this.#wantsList = true;
      throw thrown;
    } finally {
      this.#isListing = false;
    }
  }

  #delivered(asOfMs: number): void {
    this.#redelivery.planIfNeeded();
    if (!this.isSynced)
      this.#options.log.debug({ resource: this.#path, objects: this.#store.size }, 'cache filled');
    this.#freshness.advance(asOfMs);
  }

  /** Returns how long the server asked to wait. */
  #onError(thrown: unknown): number {
    this.#faults.errors += 1;
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    if (isExpired(error)) {
      this.#feed.forgetPosition();
      this.#options.log.info({ resource: this.#path }, 'history is gone, listing again');
    } else {
      this.#options.log.warn({ resource: this.#path, err: error }, 'watch failed, trying again');
    }
    return error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
  }
}
