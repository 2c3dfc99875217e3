/**
 * Time, processes and a network that a test owns: nothing happens but what it lets happen, thousands of
 * seconds pass in one, and every run of a seed is the same.
 */
import { setImmediate as settle } from 'node:timers/promises';
import type { Clock } from '../../../src/kube/clock.ts';

interface Timer {
  readonly atMs: number;
  readonly owner: SimulatedProcess | undefined;
  readonly callback: () => void;
}

export interface SimulatedProcess extends Clock {
  /** Stands still: its timers fire only when it goes on; time goes by all the same. */
  paused: boolean;
}

export class Simulation {
  nowMs = 1_000;
  readonly #timers = new Set<Timer>();

  process(): SimulatedProcess {
    const process: SimulatedProcess = {
      paused: false,
      monotonicMs: () => this.nowMs,
      now: () => new Date(Date.UTC(2026, 0, 1) + this.nowMs),
      random: () => 0.5,
      setTimer: (delayMs, callback) => this.after(delayMs, callback, process),
    };
    return process;
  }

  /** Without an owner it is the network's: no process holds it up. */
  after(delayMs: number, callback: () => void, owner?: SimulatedProcess): () => void {
    const timer = { atMs: this.nowMs + Math.max(0, delayMs), owner, callback };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Lets time go by. `each` is called whenever something has happened. */
  async run(forMs: number, each?: () => void): Promise<void> {
    const endMs = this.nowMs + forMs;
    await settle();
    for (let next = this.#next(endMs); next !== undefined; next = this.#next(endMs)) {
      this.#timers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.callback();
      each?.();
      await settle();
      each?.();
    }
    this.nowMs = endMs;
    each?.();
  }

  #next(endMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs > endMs || timer.owner?.paused === true) continue;
      if (next === undefined || timer.atMs < next.atMs) next = timer;
    }
    return next;
  }
}
