/**
 * Waiting for the world to become as expected: with a deadline, and a message that says what is missing.
 *
 * Owns polling. It must never wait without an end.
 */
import { setTimeout as sleep } from 'node:timers/promises';

export interface WaitOptions {
  readonly timeoutMs: number;
  /** Default: 500 ms. */
  readonly intervalMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** What a check returns: done with a value, or what it still waits for. */
export type Check<T> = { readonly value: T } | { readonly waitingFor: string };

/**
 * Repeats `check` until it has a value. An error thrown by it counts as "not yet".
 * @throws Error at the deadline, with the last thing it waited for
 */
export async function waitUntil<T>(
  what: string,
  check: () => Promise<Check<T>>,
  options: WaitOptions,
): Promise<T> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    const seen = await attempt(check);
    if ('value' in seen) return seen.value;
    if (performance.now() > deadline) {
      const limit = `${options.timeoutMs / 1000} s`;
      throw new Error(`${what}: not within ${limit}; still waiting for: ${seen.waitingFor}`);
    }
    await sleep(options.intervalMs ?? 500, undefined, { signal: options.signal });
  }
}

async function attempt<T>(check: () => Promise<Check<T>>): Promise<Check<T>> {
  try {
    return await check();
  } catch (error) {
    return { waitingFor: String(error) };
  }
}
