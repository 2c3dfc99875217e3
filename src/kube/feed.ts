/**
 * Fills a store with what the server says of one resource: a list, and watches from where it ended.
 * Owns the resourceVersion and when the server was last heard. It never decides when it is asked again, nor
 * what a failure means: it throws what the client throws.
 */
import type { Clock } from './clock.ts';
import type { ReflectorOptions, ReflectorTiming } from './reflectorOptions.ts';
import type { Store } from './store.ts';
import { takeWatchEvent } from './watchEvents.ts';

export interface FeedOptions<T> {
  readonly from: Pick<
    ReflectorOptions<T>,
    'client' | 'resource' | 'namespace' | 'labelSelector' | 'fieldSelector'
  >;
  /** Of the collection, for errors. */
  readonly path: string;
  readonly into: Store<T>;
  readonly clock: Clock;
  readonly timing: ReflectorTiming;
  /** The store agrees with the server as of this moment of the monotonic clock. */
  readonly onDelivered: (asOfMs: number) => void;
}

export class Feed<T> {
  readonly #options: FeedOptions<T>;
  /** Where the next watch begins; empty: a list is needed. */
  #resourceVersion = '';
  #listedAtMs = 0;
  #heardAtMs: number;
  readonly #calls = { lists: 0, watches: 0 };

  constructor(options: FeedOptions<T>) {
    this.#options = options;
    this.#heardAtMs = options.clock.monotonicMs();
  }

  /** True when a watch would have nowhere to begin, or the last list was so long ago that one is due. */
  get needsList(): boolean {
    const { clock, timing } = this.#options;
    return (
      this.#resourceVersion === '' || clock.monotonicMs() - this.#listedAtMs >= timing.relistAfterMs
    );
  }

  /** The server no longer keeps the history that a watch would begin with. */
  forgetPosition(): void {
    this.#resourceVersion = '';
  }

  /** When the server last said anything: an event, a bookmark, a page of a list. */
  get heardAtMs(): number {
    return this.#heardAtMs;
  }

  get calls(): Readonly<Record<'lists' | 'watches', number>> {
    return this.#calls;
  }

  /** Replaces the store's content by what there is now. */
  async list(signal: AbortSignal): Promise<void> {
    const { from, into, clock, timing } = this.#options;
    this.#calls.lists += 1;
    const beganAtMs = clock.monotonicMs();
    const replacement = into.beginReplace();
    let resourceVersion = '';
    const selection = { ...this.#selection(), limit: timing.pageSize };
    for await (const page of from.client.pages(from.resource, selection, signal)) {
      if (page.restarted) replacement.clear();
      for (const item of page.items) replacement.add(item);
      resourceVersion = page.resourceVersion;
      this.#heard();
    }
    replacement.commit();
    this.#resourceVersion = resourceVersion;
    this.#listedAtMs = clock.monotonicMs();
    this.#options.onDelivered(beganAtMs);
  }

  /** Takes events until the server ends the stream. */
  async watch(signal: AbortSignal): Promise<void> {
    const { from, path, into, clock, timing } = this.#options;
    this.#calls.watches += 1;
    const timeoutSeconds = Math.ceil((timing.watchTimeoutMs * (1 + clock.random())) / 1000);
    const position = { resourceVersion: this.#resourceVersion, timeoutSeconds };
    const events = from.client.watch(
      from.resource,
      { ...this.#selection(), ...position },
      { signal, idleTimeoutMs: timing.idleTimeoutMs },
    );
    for await (const event of events) {
      this.#heard();
      const version = takeWatchEvent(into, path, event);
      if (version !== undefined) this.#resourceVersion = version;
      this.#options.onDelivered(clock.monotonicMs());
    }
  }

  #selection(): Pick<ReflectorOptions<T>, 'namespace' | 'labelSelector' | 'fieldSelector'> {
    const { namespace, labelSelector, fieldSelector } = this.#options.from;
    return { namespace, labelSelector, fieldSelector };
  }

  #heard(): void {
    this.#heardAtMs = this.#options.clock.monotonicMs();
  }
}
