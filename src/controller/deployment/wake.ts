/** When a decision must be made again although nothing has changed: a deadline, a backoff, a progress to show. */
import type { Membership } from './members.ts';

const WORKING_MS = 5_000;
const TROUBLED_MS = 15_000;
/** A safety net for what no watch tells: drift that lasts, a lost event. */
const QUIET_MS = 60_000;
const LEAVING_MS = 3_000;

export function wakeAfterMs({ pool, leaving }: Membership): number {
  if (leaving.length > 0) return LEAVING_MS;
  if (pool.some(({ state }) => state === 'inProgress')) return WORKING_MS;
  if (
    pool.some(
      ({ state }) => state === 'failed' || state === 'waiting' || state === 'awaitingRestart',
    )
  )
    return TROUBLED_MS;
  return QUIET_MS;
}
