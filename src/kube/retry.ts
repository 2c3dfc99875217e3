/**
 * Which failed request the transport repeats by itself, and when. Pure.
 * Everything else is for the caller, who knows what it wanted: here only what is certainly harmless.
 */
import type { ApiError } from './errors.ts';

/** What was done so far within one request. */
export interface Attempts {
  /** Waits after 429 or 503. */
  throttled: number;
  /** Whether a 401 was already answered with newly read credentials. */
  reauthenticated: boolean;
  /** Whether a reset connection was already replaced. */
  reconnected: boolean;
}

export interface RetryRule {
  readonly idempotent: boolean;
  readonly maxRetries: number;
}

const DEFAULT_THROTTLE_MS = 1_000;

/** Milliseconds to wait before the next attempt; undefined: give the error to the caller. Counts into `attempts`. */
export function nextAttemptMs(
  error: ApiError,
  rule: RetryRule,
  attempts: Attempts,
): number | undefined {
  if (error.status === 401 && !attempts.reauthenticated) {
    attempts.reauthenticated = true;
    return 0;
  }
  // A kept connection that the server closed as we wrote into it. What arrived is unknown.
  if (error.reason === 'ConnectionReset' && rule.idempotent && !attempts.reconnected) {
    attempts.reconnected = true;
    return rule.maxRetries > 0 ? 0 : undefined;
  }
  if (!isThrottled(error, rule) || attempts.throttled >= rule.maxRetries) return undefined;
  attempts.throttled += 1;
  return error.retryAfterMs ?? DEFAULT_THROTTLE_MS * attempts.throttled;
}

function isThrottled(error: ApiError, rule: RetryRule): boolean {
  // 429 is answered before the request is looked at: nothing was done, so also a create may be repeated.
  if (error.status === 429) return true;
  // A 503 that names a time is the server's own (starting, stopping); any other may be a proxy that
  // lost the answer.
  return error.status === 503 && error.retryAfterMs !== undefined && rule.idempotent;
}
