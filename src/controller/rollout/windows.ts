/**
 * Maintenance windows, in UTC. Owns what `schedule` and `duration` mean; the form of a schedule is croner's.
 */
import { Cron } from 'croner';
import { durationMs } from '../../crds/primitives.ts';
import type { RolloutSpec } from '../../crds/rollout.ts';
import { causeOf, KataError } from '../../errors.ts';

type Windows = RolloutSpec['windows'];

export interface ClosedWindow {
  /** Undefined when none ever opens. */
  readonly opensAtMs: number | undefined;
}

/** Undefined without windows, and within one. */
export function closedWindow(windows: Windows, nowMs: number): ClosedWindow | undefined {
  return isOpen(windows, nowMs) ? undefined : { opensAtMs: nextOpeningMs(windows, nowMs) };
}

/** A window's start is in it, its end is not. */
function isOpen(windows: Windows, nowMs: number): boolean {
  if (windows.length === 0) return true;
  return windows.some(({ schedule, duration }) => {
    const start = cron(schedule).nextRun(new Date(nowMs - durationMs(duration)));
    return start !== null && start.getTime() <= nowMs;
  });
}

function nextOpeningMs(windows: Windows, nowMs: number): number | undefined {
  const openings = windows.flatMap(({ schedule }) => cron(schedule).nextRun(new Date(nowMs)) ?? []);
  return openings.length === 0
    ? undefined
    : Math.min(...openings.map((opening) => opening.getTime()));
}

/** What the API server could not see: a schedule of the right form that means nothing, or never comes. */
export function windowsError(windows: Windows, nowMs: number): KataError | undefined {
  for (const [index, { schedule }] of windows.entries()) {
    const field = `spec.rollout.windows[${String(index)}].schedule`;
    try {
      if (cron(schedule).nextRun(new Date(nowMs)) !== null) continue;
    } catch (error) {
      return new KataError('KATA_E_SPEC_INVALID', { field, cause: causeOf(error) });
    }
    return new KataError('KATA_E_SPEC_INVALID', { field, cause: `"${schedule}" never comes` });
  }
  return undefined;
}

/** Without a function to call, croner starts no timer: it only computes. */
function cron(schedule: string): Cron {
  return new Cron(schedule, { timezone: 'UTC', mode: '5-part' });
}
