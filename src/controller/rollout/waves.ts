/**
 * Waves: how many nodes of the pool may have the target revision by now. Pure, and derived from the nodes alone,
 * so that a controller that comes new finds the wave where the last one left it.
 *
 * A wave is a number of nodes that are to be good, not a list of names: a node that fails makes room for another
 * one, and the failure budget says how often. What has soaked is counted by node; one that stopped being Ready
 * within the soak counts as failed, whoever it was.
 */
import { timeMs } from '../cache/views.ts';
import type { Member } from '../nodes/member.ts';
import { shareOf } from './shares.ts';

export interface WaveInput {
  readonly pool: readonly Member[];
  readonly waves: readonly string[];
  readonly soakMs: number;
  /** Highest wave that may start; without a limit each starts by itself. */
  readonly approvedWave: number | undefined;
  readonly nowMs: number;
}

export interface Waves {
  /** 1 is the first; 0 when there is nobody to reach. */
  readonly present: number;
  readonly total: number;
  /** How many more nodes the present wave lets have the target revision. */
  readonly room: number;
  /** What the next wave waits for. Undefined in the last one. */
  readonly awaits: Awaited | undefined;
}

export type Awaited =
  | { readonly kind: 'progress' }
  | { readonly kind: 'soak'; readonly untilMs: number }
  | { readonly kind: 'approval'; readonly wave: number };

export function wavesOf(input: WaveInput): Waves {
  const pool = input.pool.filter(isReachable);
  const limits = limitsOf(input.waves, pool.length);
  const reached = pool.filter(
    (member) =>
      member.state === 'inProgress' ||
      member.state === 'awaitingRestart' ||
      (member.state === 'current' && !wentDown(member, input.soakMs)),
  ).length;
  for (const [index, limit] of limits.entries()) {
    const awaits = index === limits.length - 1 ? undefined : nextAwaits(pool, limit, index, input);
    if (awaits === undefined && index < limits.length - 1) continue;
    const room = Math.max(0, limit - reached);
    return { present: index + 1, total: limits.length, room, awaits };
  }
  return { present: 0, total: 0, room: 0, awaits: undefined };
}

/**
 * Nodes reached after each wave: ascending, no two alike, and the whole pool at the end, also where the list stops
 * before it. Empty for an empty pool.
 */
export function limitsOf(waves: readonly string[], poolSize: number): number[] {
  const limits: number[] = [];
  for (const wave of [...waves, '100%']) {
    const limit = Math.min(poolSize, shareOf(wave, poolSize));
    if (limit > (limits.at(-1) ?? 0)) limits.push(limit);
  }
  return limits;
}

/** Conditions of a Node are given in whole seconds. */
const ROUNDED_MS = 1_000;

/** True when a verified node stopped being Ready between its claim and the end of the soak: our change may have done it. */
export function wentDown({ node, state, status, kataNode }: Member, soakMs: number): boolean {
  const sinceMs = timeMs(status?.since);
  const claimedAtMs = timeMs(kataNode?.spec.claimedAt);
  if (state !== 'current' || node.ready || sinceMs === undefined || claimedAtMs === undefined)
    return false;
  return node.readyChangedMs >= claimedAtMs - ROUNDED_MS && node.readyChangedMs <= sinceMs + soakMs;
}

/** Members that a wave can reach. */
function isReachable({ state }: Member): boolean {
  return state !== 'unsupported' && state !== 'conflict' && state !== 'skipped';
}

/** What is missing until the wave with this limit is over; undefined when nothing is. */
function nextAwaits(
  pool: readonly Member[],
  limit: number,
  index: number,
  { soakMs, approvedWave, nowMs }: WaveInput,
): Awaited | undefined {
  const soakedAtMs = pool
    .filter((member) => member.state === 'current' && !wentDown(member, soakMs))
    .map(({ status }) => (timeMs(status?.since) ?? nowMs) + soakMs)
    .sort((a, b) => a - b);
  const lastMs = soakedAtMs[limit - 1];
  if (lastMs === undefined) return { kind: 'progress' };
  if (lastMs > nowMs) return { kind: 'soak', untilMs: lastMs };
  const next = index + 2;
  return approvedWave !== undefined && approvedWave < next
    ? { kind: 'approval', wave: next }
    : undefined;
}
