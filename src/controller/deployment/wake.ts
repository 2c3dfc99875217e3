/** When a decision must be made again although nothing has changed: a deadline, a backoff, a progress to show. */
import type { Membership } from './members.ts';

const WORKING_MS = 5_000;
const TROUBLED_MS = 15_000;
/** A safety net for what no watch tells: drift that lasts, a lost event. */
const QUIET_MS = 60_000;
const LEAVING_MS = 3_000;
/** Clocks that differ by a hair must not make a decision a moment too early, again and again. */
const SLACK_MS = 50;

/** `opensAtMs`: when the clock alone lets nodes go on. */
export function wakeAfterMs(
  members: Membership,
  opensAtMs: number | undefined,
  nowMs: number,
): number {
  const pace = paceMs(members);
  return opensAtMs === undefined
    ? pace
    : Math.max(SLACK_MS, Math.min(pace, opensAtMs - nowMs + SLACK_MS));
}

function paceMs({ pool, leaving }: Membership): number {
  if (leaving.length > 0) return LEAVING_MS;
  if (pool.some(({ state, working }) => state === 'inProgress' || working)) return WORKING_MS;
  if (
    pool.some(
      ({ state }) => state === 'failed' || state === 'waiting' || state === 'awaitingRestart',
    )
  )
    return TROUBLED_MS;
  return QUIET_MS;
}
