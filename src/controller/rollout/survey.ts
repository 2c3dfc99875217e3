/**
 * What a rollout is decided upon, counted once per decision: who is worked on, who is unavailable, who has failed,
 * which wave it is. Owns what these words mean.
 */
import { durationMs } from '../../crds/primitives.ts';
import type { RolloutSpec } from '../../crds/rollout.ts';
import { isUnderWay, type Member } from '../nodes/member.ts';
import { FAILED } from '../nodes/report.ts';
import { nameNodes } from '../words.ts';
import { shareOf } from './shares.ts';
import { wavesOf, wentDown, type Waves } from './waves.ts';
import { closedWindow, type ClosedWindow } from './windows.ts';

export interface RolloutInput {
  readonly deployment: string;
  readonly target: string;
  readonly pool: readonly Member[];
  readonly leaving: readonly Member[];
  /** True when a leaving node may be cleaned: nothing runs there that holds it back. */
  readonly isRemovable: (member: Member) => boolean;
  readonly policy: RolloutSpec;
  /** Highest wave of the target revision that a person has released. */
  readonly approvedWave: number;
  /** The whole KataDeployment goes: that was asked for by name, and neither pause nor window holds it. */
  readonly uninstalling: boolean;
  readonly nowMs: number;
}

export interface Survey {
  readonly input: RolloutInput;
  readonly leaving: ReadonlySet<Member>;
  readonly working: readonly Member[];
  /** Not Ready or cordoned, whoever made them so. */
  readonly unavailable: readonly Member[];
  readonly failed: readonly Member[];
  /** Became Ready and then stopped being so while their wave soaked. */
  readonly down: readonly Member[];
  readonly waves: Waves;
  /** Undefined while a maintenance window is open, or none is asked for. */
  readonly closedWindow: ClosedWindow | undefined;
  readonly slots: { readonly free: number; readonly explanation: string };
}

export function survey(input: RolloutInput): Survey {
  const { pool, leaving, policy, nowMs } = input;
  const all = [...pool, ...leaving];
  const soakMs = durationMs(policy.soak);
  const working = all.filter(isWorkedOn);
  const unavailable = all.filter(({ node }) => !node.ready || node.unschedulable);
  return {
    input,
    leaving: new Set(leaving),
    working,
    unavailable,
    failed: pool.filter(hasFailed),
    down: pool.filter((member) => wentDown(member, soakMs)),
    waves: wavesOf({
      pool,
      waves: policy.waves,
      soakMs,
      approvedWave: policy.approval === 'PerWave' ? input.approvedWave : undefined,
      nowMs,
    }),
    closedWindow: input.uninstalling ? undefined : closedWindow(policy.windows, nowMs),
    slots: freeSlots(policy, all.length, working, unavailable),
  };
}

/** Its last result was bad; that it is tried again makes it no better until a good one comes. */
export function hasFailed({ state, status }: Member): boolean {
  return (
    state === 'returned' ||
    ((state === 'failed' || state === 'inProgress') &&
      status !== undefined &&
      FAILED.includes(status.phase))
  );
}

/** From the claim on, also before there is a Pod. */
function isWorkedOn({ state, status, working, kataNode }: Member): boolean {
  if (working || state === 'inProgress') return true;
  if (state === 'removing') return status?.error === undefined;
  const spec = state === 'returned' ? kataNode?.spec : undefined;
  return spec !== undefined && (status === undefined || isUnderWay(spec, status));
}

function freeSlots(
  policy: RolloutSpec,
  poolSize: number,
  working: readonly Member[],
  unavailable: readonly Member[],
): Survey['slots'] {
  const parallel = shareOf(policy.maxParallel, poolSize) - working.length;
  // A node that is worked on may become unavailable at any moment: it has its place taken already.
  const disrupted = new Set([...unavailable, ...working]).size;
  const disruption = shareOf(policy.maxUnavailable, poolSize) - disrupted;
  return {
    free: Math.max(0, Math.min(parallel, disruption)),
    explanation:
      parallel <= disruption || unavailable.length === 0
        ? `${String(working.length)} being worked on, rollout.maxParallel is ${policy.maxParallel}`
        : `unavailable: ${nameNodes(unavailable)}; rollout.maxUnavailable is ${policy.maxUnavailable}`,
  };
}
