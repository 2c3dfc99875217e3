/**
 * Time as a port. Everything in this folder that waits takes a Clock, so that tests can own time.
 * Deadlines are always counted on the monotonic clock: the wall clock may jump.
 */
export interface Clock {
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number;
  /** Wall clock, for what is written into objects only. */
  now(): Date;
  /** Calls back once after delayMs; the returned function cancels it. */
  setTimer(delayMs: number, callback: () => void): () => void;
  /** Uniform in [0, 1), for jitter. */
  random(): number;
}

// setTimeout turns a delay above 2^31-1 ms into 1 ms.
const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  now: () => new Date(),
  setTimer: (delayMs, callback) => {
    const timer = setTimeout(callback, Math.max(0, Math.min(delayMs, MAX_TIMER_MS)));
    return () => {
      clearTimeout(timer);
    };
  },
  random: () => Math.random(),
};

/** Resolves after delayMs; rejects with the reason of the signal as soon as it is aborted. */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortReason(signal));
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(abortReason(signal));
    };
    const cancel = clock.setTimer(delayMs, () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

/** A signal of its own that follows `parent` and can end earlier. */
export interface Scope {
  readonly signal: AbortSignal;
  abort(reason: Error): void;
  /** Lets go of the parent and of the timer. Must be called, or a long-lived parent collects listeners. */
  dispose(): void;
}

/** With afterMs, the scope is aborted by `timeout()` after that time. */
export function scopeOf(
  parent: AbortSignal,
  deadline?: { clock: Clock; afterMs: number; timeout: () => Error },
): Scope {
  const controller = new AbortController();
  const follow = (): void => {
    controller.abort(parent.reason);
  };
  if (parent.aborted) follow();
  else parent.addEventListener('abort', follow, { once: true });
  const cancel = deadline?.clock.setTimer(deadline.afterMs, () => {
    controller.abort(deadline.timeout());
  });
  return {
    signal: controller.signal,
    abort: (reason) => {
      controller.abort(reason);
    },
    dispose: () => {
      parent.removeEventListener('abort', follow);
      cancel?.();
    },
  };
}

/** Asked anew after every await, which the compiler does not see. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** What a signal was aborted with, as an Error. */
export function abortReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new Error('aborted', { cause: reason });
}

/** Exponential with jitter in [delay/2, delay]; `attempt` counts from 0. */
export function backoffMs(
  clock: Clock,
  attempt: number,
  bounds: { baseMs: number; maxMs: number },
): number {
  const delayMs = Math.min(bounds.maxMs, bounds.baseMs * 2 ** Math.min(attempt, 30));
  return delayMs * (0.5 + clock.random() / 2);
}
