/**
 * One leader among several controllers, by a Lease. Owns the time: who holds the lease may believe it only
 * until the renew deadline, counted from the moment the last good renewal was sent, and others wait longer
 * than that before they take it. Nobody can be stopped from outside: a leader fences itself (see fence.ts).
 */
import { abortReason, isAborted, scopeOf, sleep, systemClock, type Clock } from './clock.ts';
import type { KubeClient } from './client.ts';
import { LeaseRecord } from './leaseRecord.ts';
import type { Logger } from './log.ts';

export interface LeaderElectorOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** Differs between processes that run at the same time. The same after a restart is good: no waiting for oneself. */
  readonly identity: string;
  /** How long others wait after the last renewal that they saw. Default 10 s. */
  readonly leaseDurationMs?: number;
  /** How long the leader acts after the last renewal that it sent. Shorter than leaseDurationMs. Default 7 s. */
  readonly renewDeadlineMs?: number;
  /** Between attempts. Default 2 s. */
  readonly retryPeriodMs?: number;
  /** How long the work may take to end after the lease was lost. Default 30 s. */
  readonly stopTimeoutMs?: number;
  /** Says itself which process it belongs to. */
  readonly log: Logger;
  readonly clock?: Clock;
}

const DEFAULTS = {
  leaseDurationMs: 10_000,
  renewDeadlineMs: 7_000,
  retryPeriodMs: 2_000,
  stopTimeoutMs: 30_000,
};

export class LeaderElector {
  readonly #options: LeaderElectorOptions & typeof DEFAULTS;
  readonly #clock: Clock;
  readonly #record: LeaseRecord;
  #leading = false;
  /** When the last renewal that succeeded was sent. */
  #renewedAtMs = 0;

  constructor(options: LeaderElectorOptions) {
    const all = { ...DEFAULTS, ...options };
    if (all.leaseDurationMs <= all.renewDeadlineMs || all.renewDeadlineMs <= all.retryPeriodMs) {
      throw new RangeError('leaseDurationMs > renewDeadlineMs > retryPeriodMs must hold');
    }
    this.#options = all;
    this.#clock = options.clock ?? systemClock;
    this.#record = new LeaseRecord({ ...all, clock: this.#clock });
  }

  /** Looks at the monotonic clock each time: after a stall it is false before any timer had a chance to run. */
  isLeader(): boolean {
    return this.#leading && this.#remainingMs() > 0;
  }

  /**
   * Stands for election until the signal is aborted. While leading, `onLead` runs; its signal is aborted
   * when the lease is lost or the end is asked for. Lost, it stands again; when `onLead` ends by itself,
   * the lease is released and run returns, or throws what it threw.
   */
  async run(signal: AbortSignal, onLead: (leading: AbortSignal) => Promise<void>): Promise<void> {
    let wants = true;
    while (wants && (await this.#acquire(signal))) wants = await this.#lead(signal, onLead);
  }

  /** False when the signal was aborted before. */
  async #acquire(signal: AbortSignal): Promise<boolean> {
    const { retryPeriodMs, renewDeadlineMs, log } = this.#options;
    while (!signal.aborted) {
      const sentAtMs = this.#clock.monotonicMs();
      try {
        // Late, it would be lost before it can be renewed.
        const endMs = sentAtMs + renewDeadlineMs - retryPeriodMs;
        if (await this.#record.acquire({ signal, endMs })) {
          this.#renewedAtMs = sentAtMs;
          this.#leading = true;
          log.info({}, 'lease acquired');
          return true;
        }
        log.debug({ holder: this.#record.holder }, 'lease is held by another');
      } catch (thrown) {
        if (isAborted(signal)) return false;
        log.warn({ err: thrown }, 'lease cannot be acquired, trying again');
      }
      await this.#pause(retryPeriodMs, signal);
    }
    return false;
  }

  /** True when the lease was lost and should be stood for again. */
  async #lead(
    signal: AbortSignal,
    onLead: (leading: AbortSignal) => Promise<void>,
  ): Promise<boolean> {
    const leading = scopeOf(signal);
    const ended = new AbortController();
    const work = settle(onLead, leading.signal).finally(() => {
      ended.abort();
    });
    try {
      // Also while the work comes to its end: what it still writes must still be covered.
      const lost = await this.#keep(ended.signal);
      if (lost) {
        this.#leading = false;
        this.#options.log.error({}, 'lease lost');
        leading.abort(new Error('the lease was lost'));
        await this.#ending(work);
        return true;
      }
      const { failure } = await work;
      await this.#release();
      if (failure !== undefined && !signal.aborted) throw failure;
      return false;
    } finally {
      this.#leading = false;
      leading.dispose();
    }
  }

  /** Renews until `ended` (false) or until the lease is lost (true). */
  async #keep(ended: AbortSignal): Promise<boolean> {
    const { retryPeriodMs, log } = this.#options;
    let triedAtMs = this.#clock.monotonicMs();
    while (!ended.aborted) {
      // From try to try, not from end to try: one that hung must not cost the time of the next.
      const untilNextMs = triedAtMs + retryPeriodMs - this.#clock.monotonicMs();
      await this.#pause(Math.max(0, Math.min(untilNextMs, this.#remainingMs())), ended);
      if (isAborted(ended)) break;
      if (this.#remainingMs() <= 0) return true;
      triedAtMs = this.#clock.monotonicMs();
      // Several tries must fit before the deadline: the first may meet a dead connection.
      const endMs = triedAtMs + Math.min(retryPeriodMs, this.#remainingMs());
      try {
        // Not cut short when the work ends: whether it arrived must be known to release the lease.
        if (!(await this.#record.renew({ signal: UNENDING, endMs }))) return true;
        this.#renewedAtMs = triedAtMs;
      } catch (thrown) {
        log.warn({ err: thrown }, 'lease not renewed, trying again');
      }
    }
    return false;
  }

  async #ending(work: Promise<unknown>): Promise<void> {
    const { stopTimeoutMs } = this.#options;
    const overdue = Promise.withResolvers<never>();
    const cancel = this.#clock.setTimer(stopTimeoutMs, () => {
      overdue.reject(new Error(`the work did not end within ${stopTimeoutMs} ms of a lost lease`));
    });
    await Promise.race([work, overdue.promise]).finally(cancel);
  }

  async #release(): Promise<void> {
    if (!this.isLeader()) return;
    // Before it is sent: as soon as it arrives, another may lead.
    this.#leading = false;
    const endMs = this.#clock.monotonicMs() + this.#options.retryPeriodMs;
    try {
      await this.#record.release({ signal: UNENDING, endMs });
      this.#options.log.info({}, 'lease released');
    } catch (thrown) {
      this.#options.log.warn({ err: thrown }, 'lease not released, it will expire');
    }
  }

  async #pause(delayMs: number, signal: AbortSignal): Promise<void> {
    // Up to a fifth more, so that candidates do not march in step.
    const jitteredMs = delayMs * (1 + this.#clock.random() / 5);
    await sleep(this.#clock, jitteredMs, signal).catch((thrown: unknown) => {
      if (thrown !== abortReason(signal)) throw thrown;
    });
  }

  #remainingMs(): number {
    return this.#renewedAtMs + this.#options.renewDeadlineMs - this.#clock.monotonicMs();
  }
}

/** For exchanges that only their timeout may end. */
const UNENDING = new AbortController().signal;

/** Runs the work and says how it ended; never rejects. */
async function settle(
  onLead: (leading: AbortSignal) => Promise<void>,
  leading: AbortSignal,
): Promise<{ failure?: Error }> {
  try {
    await onLead(leading);
    return {};
  } catch (thrown) {
    return { failure: thrown instanceof Error ? thrown : new Error(String(thrown)) };
  }
}
