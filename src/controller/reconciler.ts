/**
 * The loop: a name comes from the queue, is observed, decided and acted upon. Level-based: what happened
 * does not matter, only what is.
 */
import { causeOf } from '../errors.ts';
import type { Clock } from '../kube/clock.ts';
import { ApiError } from '../kube/errors.ts';
import type { Logger } from '../kube/log.ts';
import type { WorkQueue } from '../kube/workqueue.ts';
import type { Cache } from './cache/cache.ts';
import { act, type ActDeps } from './deployment/act.ts';
import { decide } from './deployment/decide.ts';
import { observe, type ObserveDeps } from './deployment/observe.ts';
import { Expectations } from './expectations.ts';
import { CONTROLLER, type Metrics } from './metrics.ts';
import type { WrittenKind } from './writes.ts';

export interface ReconcilerDeps {
  readonly cache: Cache;
  readonly observe: ObserveDeps;
  readonly act: Omit<ActDeps, 'expectations'>;
  readonly queue: WorkQueue;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * What fails is tried again after a minute at the latest: a write that an admission webhook refuses may be let
 * through any time, and one more try a minute is no load.
 */
export const RETRY_LIMITS = { maxDelayMs: 60_000 } as const;
/** A cache that lags behind our own writes is looked at again so soon. */
const BEHIND_MS = 50;
/** One reconciliation may take this long: 5,000 nodes at the pace of a throttled API server. */
const RECONCILE_TIMEOUT_MS = 300_000;

export class Reconciler {
  readonly #deps: ReconcilerDeps;
  readonly #expectations: Expectations;

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps;
    this.#expectations = new Expectations(() => deps.clock.monotonicMs());
  }

  /** Works until the signal. Never rejects for a single name. */
  async run(signal: AbortSignal): Promise<void> {
    const { queue } = this.#deps;
    for (;;) {
      const name = await queue.get(signal);
      if (name === undefined) return;
      try {
        await this.#one(name, signal);
      } finally {
        queue.done(name);
      }
    }
  }

  async #one(name: string, signal: AbortSignal): Promise<void> {
    const { queue, metrics, clock, log } = this.#deps;
    const startedMs = clock.monotonicMs();
    const count = (result: string): void => {
      metrics.reconcileTotal.inc({ controller: CONTROLLER, result });
      metrics.reconcileSeconds.observe(
        { controller: CONTROLLER },
        (clock.monotonicMs() - startedMs) / 1000,
      );
    };
    try {
      const afterMs = await this.#reconcile(
        name,
        AbortSignal.any([signal, AbortSignal.timeout(RECONCILE_TIMEOUT_MS)]),
      );
      queue.forget(name);
      if (afterMs !== undefined) queue.addAfter(name, afterMs);
      count(afterMs === undefined ? 'success' : 'requeue_after');
    } catch (error) {
      if (signal.aborted) return;
      count('error');
      log.error(
        {
          deployment: name,
          cause: causeOf(error),
          ...(error instanceof ApiError ? {} : { stack: stackOf(error) }),
        },
        'reconciliation failed; it is tried again',
      );
      queue.addRateLimited(name);
    }
  }

  /** Milliseconds after which the name must be looked at again. */
  async #reconcile(name: string, signal: AbortSignal): Promise<number | undefined> {
    const { observe: observeDeps, act: actDeps, clock, queue } = this.#deps;
    if (this.#expectations.isBehind((kind, object) => this.#cachedVersion(kind, object)))
      return BEHIND_MS;
    const observed = await observe(observeDeps, name, signal);
    if (observed === undefined) return undefined;
    const decision = decide(observed, clock.now().getTime());
    const wakeAfterMs = earliest(decision.wakeAfterMs, observeDeps.usage.askAgainAfterMs(name));
    try {
      await act({ ...actDeps, expectations: this.#expectations }, decision.writes, signal);
    } catch (error) {
      // What could not be written to one object is no reason to miss the deadlines of the others.
      if (wakeAfterMs !== undefined) queue.addAfter(name, wakeAfterMs);
      throw error;
    }
    return wakeAfterMs;
  }

  #cachedVersion(kind: WrittenKind, name: string): string | undefined {
    const { cache } = this.#deps;
    switch (kind) {
      case 'Node':
        return cache.nodes.get(name)?.resourceVersion;
      case 'KataNode':
        return cache.kataNodes.get(name)?.resourceVersion;
      case 'KataDeployment':
        return cache.deployments.get(name)?.resourceVersion;
      case 'Pod':
      case 'ConfigMap':
      case 'DaemonSet':
      case 'RuntimeClass':
        return undefined;
    }
  }
}

function earliest(...timesMs: readonly (number | undefined)[]): number | undefined {
  const known = timesMs.filter((timeMs) => timeMs !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** For the log only: a bug should be found by it. */
function stackOf(error: unknown): string | undefined {
  return error instanceof Error ? error.stack : undefined;
}
