/**
 * Events (events.k8s.io/v1) that people read with kubectl describe. An event that repeats is counted in one
 * object instead of written again. Owns the shape, the counting and the limits: events are for people, so
 * none of them may ever fail, flood or slow down the work that they tell of.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { KubeClient } from './client.ts';
import { systemClock, type Clock } from './clock.ts';
import { isNotFound, isNotLeader } from './errors.ts';
import type { Logger } from './log.ts';
import { microTime } from './microTime.ts';
import { TokenBucket } from './rateLimiter.ts';
import { EVENTS, type KubeObject } from './resource.ts';

export interface EventRegarding {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly uid?: string | undefined;
}

export interface EventDraft {
  readonly regarding: EventRegarding;
  readonly type: 'Normal' | 'Warning';
  /** Why, in UpperCamelCase, for machines. At most 128 characters. */
  readonly reason: string;
  /** What was being done, in UpperCamelCase. At most 128 characters. */
  readonly action: string;
  /** For people. Cut at 1,024 bytes, which is the limit of the API. */
  readonly note: string;
}

export interface EventRecorderOptions {
  readonly client: KubeClient;
  /** Where events on cluster-scoped objects go: the API accepts `default` only. */
  readonly namespace?: string;
  /** Qualified name, `example.com/controller`. */
  readonly reportingController: string;
  readonly reportingInstance: string;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly limits?: Partial<EventLimits>;
}

export interface EventLimits {
  /** The same event within this time after the last one is one more of a series. */
  readonly windowMs: number;
  /** The count of a series is written at most so often; what came since is written with the next one. */
  readonly seriesWriteMs: number;
  /** Different events of one type on one object: so many at once, then one per refill. */
  readonly burstPerObject: number;
  readonly refillMs: number;
  /** Series and objects remembered. */
  readonly maxRemembered: number;
}

const DEFAULT_LIMITS: EventLimits = {
  windowMs: 600_000,
  seriesWriteMs: 60_000,
  burstPerObject: 25,
  refillMs: 60_000,
  maxRemembered: 2_048,
};

const MAX_NOTE_BYTES = 1_024;
const MAX_NAME_LENGTH = 253;
const WRITE_TIMEOUT_MS = 10_000;

interface Series {
  readonly namespace: string;
  readonly name: string;
  count: number;
  lastSeenAtMs: number;
  writtenAtMs: number;
  writing: boolean;
}

export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #clock: Clock;
  readonly #limits: EventLimits;
  readonly #series = new Map<string, Series>();
  readonly #budgets = new Map<string, TokenBucket>();

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
  }

  /** Resolves when the event is written, counted or given up. Never rejects. */
  async emit(draft: EventDraft, signal: AbortSignal): Promise<void> {
    try {
      await this.#emit(draft, signal);
    } catch (thrown) {
      if (signal.aborted || isNotLeader(thrown)) return;
      this.#options.log.warn({ err: thrown, reason: draft.reason }, 'event not written');
    }
  }

  async #emit(draft: EventDraft, signal: AbortSignal): Promise<void> {
    const key = keyOf(draft);
    const nowMs = this.#clock.monotonicMs();
    const known = this.#series.get(key);
    if (known !== undefined && nowMs - known.lastSeenAtMs < this.#limits.windowMs) {
      known.count += 1;
      known.lastSeenAtMs = nowMs;
      remember(this.#series, key, known, this.#limits.maxRemembered);
      const isDue = known.count === 2 || nowMs - known.writtenAtMs >= this.#limits.seriesWriteMs;
      if (!isDue || known.writing) return;
      if (await this.#writing(known, async () => this.#count(known, signal))) return;
    }
    if (!this.#mayWrite(draft)) {
      this.#options.log.debug({ reason: draft.reason }, 'event dropped: too many on one object');
      return;
    }
    const fresh: Series = {
      namespace: draft.regarding.namespace ?? this.#options.namespace ?? 'default',
      name: eventName(draft.regarding.name),
      count: 1,
      lastSeenAtMs: nowMs,
      writtenAtMs: nowMs,
      writing: false,
    };
    remember(this.#series, key, fresh, this.#limits.maxRemembered);
    try {
      await this.#writing(fresh, async () => this.#create(fresh, draft, signal));
    } catch (thrown) {
      // The next one must not be counted into an event that does not exist.
      if (this.#series.get(key) === fresh) this.#series.delete(key);
      throw thrown;
    }
  }

  async #writing<R>(series: Series, write: () => Promise<R>): Promise<R> {
    series.writing = true;
    series.writtenAtMs = this.#clock.monotonicMs();
    return write().finally(() => {
      series.writing = false;
    });
  }

  async #create(series: Series, draft: EventDraft, signal: AbortSignal): Promise<void> {
    const { reportingController, reportingInstance, client } = this.#options;
    const { regarding, type, reason, action } = draft;
    const event: KubeObject = {
      metadata: { namespace: series.namespace, name: series.name },
      eventTime: microTime(this.#clock.now()),
      reportingController,
      reportingInstance: reportingInstance.slice(0, 128),
      action: action.slice(0, 128),
      reason: reason.slice(0, 128),
      regarding,
      note: cut(draft.note, MAX_NOTE_BYTES),
      type,
    };
    await client.create(EVENTS, event, signal, { timeoutMs: WRITE_TIMEOUT_MS });
  }

  /** False when the event is gone: events live for an hour. */
  async #count(series: Series, signal: AbortSignal): Promise<boolean> {
    const lastObservedTime = microTime(this.#clock.now());
    try {
      await this.#options.client.mergePatch(
        EVENTS,
        { namespace: series.namespace, name: series.name },
        { series: { count: series.count, lastObservedTime } },
        {},
        signal,
      );
      return true;
    } catch (thrown) {
      if (isNotFound(thrown)) return false;
      throw thrown;
    }
  }

  #mayWrite({ regarding, type }: EventDraft): boolean {
    const { burstPerObject, refillMs, maxRemembered } = this.#limits;
    // Warnings apart: much good news must not silence the bad.
    const key = `${type}/${regarding.kind}/${regarding.namespace ?? ''}/${regarding.name}`;
    const bucket =
      this.#budgets.get(key) ??
      new TokenBucket(this.#clock, { perSecond: 1000 / refillMs, burst: burstPerObject });
    remember(this.#budgets, key, bucket, maxRemembered);
    return bucket.tryTake();
  }
}

function keyOf({ regarding, type, reason, action, note }: EventDraft): string {
  const { apiVersion, kind, namespace, name, uid } = regarding;
  return createHash('sha256')
    .update(JSON.stringify([apiVersion, kind, namespace, name, uid, type, reason, action, note]))
    .digest('base64');
}

/** Unique, and such that the events of an object stand together in a list. */
function eventName(regardingName: string): string {
  const suffix = `.${randomBytes(8).toString('hex')}`;
  return `${regardingName.slice(0, MAX_NAME_LENGTH - suffix.length)}${suffix}`;
}

/** Sets and marks as used last; forgets the ones not used for longest. */
function remember<V>(map: Map<string, V>, key: string, value: V, max: number): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= max) return;
    map.delete(oldest);
  }
}

function cut(text: string, maxBytes: number): string {
  if (Buffer.byteLength(text) <= maxBytes) return text;
  const ellipsis = '…';
  let end = maxBytes - Buffer.byteLength(ellipsis);
  const bytes = Buffer.from(text);
  // Not in the middle of a character: continuation bytes look like 10xxxxxx.
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return `${bytes.subarray(0, end).toString('utf8')}${ellipsis}`;
}
