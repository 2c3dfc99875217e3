/**
 * Waiting for a moment in which the engine creates nothing: a container that is created while its engine restarts
 * can stay "Created" for ever, and its Pod with it.
 *
 * Bounded: on a busy node there may be no such moment, and one restart is better than none.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Host } from '../host/host.ts';
import { CriUnavailable } from './cri/client.ts';
import { inFlight } from './cri/inFlight.ts';
import type { Engine } from './engine.ts';

const PATIENCE_MS = 10_000;
const INTERVAL_MS = 50;
const CALL_DEADLINE_MS = 2_000;

/** True when nothing was in creation; false when there was something all the time, or the engine does not say. */
export async function waitForQuiet(
  host: Host,
  engine: Engine,
  signal: AbortSignal,
): Promise<boolean> {
  const deadline = performance.now() + PATIENCE_MS;
  const options = { deadlineMs: CALL_DEADLINE_MS, signal };
  try {
    for (;;) {
      const busy = await inFlight(host.at(engine.socket), engine.name === 'containerd', options);
      if (busy.length === 0) return true;
      if (performance.now() > deadline) return false;
      await sleep(INTERVAL_MS, undefined, { signal });
    }
  } catch (error) {
    // An engine that does not answer creates nothing either.
    if (error instanceof CriUnavailable) return false;
    throw error;
  }
}
