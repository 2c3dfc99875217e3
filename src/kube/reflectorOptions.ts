/** What a reflector is told, and the times it keeps. */
import type { KubeClient } from './client.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './log.ts';
import type { KubeObject, Resource } from './resource.ts';
import type { Change } from './store.ts';

export interface ReflectorOptions<T> {
  readonly client: KubeClient;
  readonly resource: Resource;
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** Cuts an object down to what is kept. Called once per version of an object, in order. */
  readonly transform: (raw: KubeObject) => T;
  /**
   * Called after the cache holds `after`. Must be quick: it is for putting keys into queues. When it
   * throws, it is called again later with the difference to what it last took.
   */
  readonly onChange: (change: Change<T>) => void;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly timing?: Partial<ReflectorTiming>;
}

export interface ReflectorTiming {
  /** Of 5,000 Nodes of 15 kB, pages of 500 cost 80 MB of memory more than pages of 100, and are no faster. */
  readonly pageSize: number;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
  /** A watch that lived so long was a good one: the next starts without waiting. */
  readonly healthyAfterMs: number;
  /** A watch is ended by the server after a time between this and twice this. */
  readonly watchTimeoutMs: number;
  /** A watch that is silent for so long is dead. The API server sends a bookmark every minute. */
  readonly idleTimeoutMs: number;
  /** After so long the next watch begins with a list: what no watch told is found. */
  readonly relistAfterMs: number;
  /** Watches that fail in a row before a list is tried instead. */
  readonly relistAfterFailures: number;
  readonly redeliverAfterMs: number;
}

export const DEFAULT_TIMING: ReflectorTiming = {
  pageSize: 100,
  backoffBaseMs: 250,
  backoffMaxMs: 15_000,
  healthyAfterMs: 5_000,
  watchTimeoutMs: 300_000,
  idleTimeoutMs: 150_000,
  relistAfterMs: 3_600_000,
  relistAfterFailures: 8,
  redeliverAfterMs: 1_000,
};

export interface ReflectorStats {
  readonly lists: number;
  readonly watches: number;
  /** Lists and watches that failed. */
  readonly errors: number;
  /** Transforms and handlers that threw. */
  readonly handlerErrors: number;
}
