/**
 * What holds a node back that could be worked on. Two lists of pure checks, the first that holds decides: gates
 * say whether it may go at all, turns whether it is its turn beside those that were taken already. Each answers
 * in words for people.
 */
import { approveValue, ANNOTATION } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import type { Member } from '../nodes/member.ts';
import { nameNodes } from '../words.ts';
import { hasFailed, type Survey } from './survey.ts';

export interface Blocked {
  readonly reason: string;
  readonly message: string;
  /** When the clock alone opens it. */
  readonly untilMs?: number;
}

type Gate = (candidate: Member, survey: Survey) => Blocked | undefined;
type Turn = (candidate: Member, survey: Survey, taken: readonly Member[]) => Blocked | undefined;

const gates: readonly Gate[] = [
  /* a person said stop */ isPaused,
  /* enough nodes are broken already */ budgetIsSpent,
  /* not at this hour */ windowIsClosed,
];

const turns: readonly Turn[] = [
  /* first a few, then more */ waveIsFull,
  /* only so many at once */ slotsAreTaken,
  /* only in one zone at a time */ otherTopologyIsInWork,
  /* the control plane when everything else is done, one by one */ controlPlaneIsLast,
];

export function gateOf(candidate: Member, survey: Survey): Blocked | undefined {
  // A person who names a node means it, whatever holds the others.
  if (candidate.retry?.reason === 'Asked') return undefined;
  return firstOf(gates, (gate) => gate(candidate, survey));
}

export function turnOf(
  candidate: Member,
  survey: Survey,
  taken: readonly Member[],
): Blocked | undefined {
  return firstOf(turns, (turn) => turn(candidate, survey, taken));
}

function firstOf<T>(
  checks: readonly T[],
  ask: (check: T) => Blocked | undefined,
): Blocked | undefined {
  for (const check of checks) {
    const blocked = ask(check);
    if (blocked !== undefined) return blocked;
  }
  return undefined;
}

function isPaused(_: Member, { input }: Survey): Blocked | undefined {
  return input.policy.paused && !input.uninstalling
    ? { reason: 'Paused', message: 'spec.rollout.paused is true; set it to false to go on' }
    : undefined;
}

/** Holds what would touch one more node; a node that has failed may recover. */
function budgetIsSpent(
  candidate: Member,
  { input, failed, down, leaving }: Survey,
): Blocked | undefined {
  if (hasFailed(candidate) || leaving.has(candidate)) return undefined;
  const count = failed.length + down.length;
  if (count <= input.policy.failureBudget) return undefined;
  const error = new KataError('KATA_E_FAILURE_BUDGET', {
    failed: count,
    desired: input.pool.length,
    budget: input.policy.failureBudget,
  });
  return { reason: error.reason, message: `${error.message}. ${error.remedy}` };
}

function windowIsClosed(_: Member, { closedWindow }: Survey): Blocked | undefined {
  if (closedWindow === undefined) return undefined;
  const untilMs = closedWindow.opensAtMs;
  const next =
    untilMs === undefined
      ? 'none will open'
      : `the next one opens at ${new Date(untilMs).toISOString()}`;
  return {
    reason: 'OutsideWindow',
    message: `outside of spec.rollout.windows; ${next}`,
    ...(untilMs === undefined ? {} : { untilMs }),
  };
}

/** Only nodes that do not have the target yet: what has it may always be repaired. */
function waveIsFull(
  candidate: Member,
  survey: Survey,
  taken: readonly Member[],
): Blocked | undefined {
  if (candidate.state !== 'waiting' || survey.leaving.has(candidate)) return undefined;
  const more = taken.filter(({ state }) => state === 'waiting').length;
  return survey.waves.room > more ? undefined : waveIsAwaited(survey);
}

function waveIsAwaited({ waves, input, working, down }: Survey): Blocked {
  const name = `wave ${String(waves.present)} of ${String(waves.total)}`;
  switch (waves.awaits?.kind) {
    case 'soak':
      return {
        reason: 'Soaking',
        message: `${name} is Ready and soaks until ${new Date(waves.awaits.untilMs).toISOString()}`,
        untilMs: waves.awaits.untilMs,
      };
    case 'approval': {
      const value = approveValue(input.target, waves.awaits.wave);
      return {
        reason: 'WaitingForApproval',
        message: `${name} is Ready; start the next with: kubectl annotate katadeployment ${input.deployment} --overwrite ${ANNOTATION.approve}=${value}`,
      };
    }
    default: {
      const busy = down.length > 0 ? down : working;
      const who = busy.length === 0 ? '' : `: ${nameNodes(busy)}`;
      return { reason: 'WaveInProgress', message: `${name} is not yet Ready${who}` };
    }
  }
}

function slotsAreTaken(
  _: Member,
  { slots }: Survey,
  taken: readonly Member[],
): Blocked | undefined {
  return taken.length < slots.free
    ? undefined
    : { reason: 'WaitingForSlot', message: slots.explanation };
}

function otherTopologyIsInWork(
  candidate: Member,
  { input, working }: Survey,
  taken: readonly Member[],
): Blocked | undefined {
  const key = input.policy.topologyKey;
  if (key === undefined) return undefined;
  const mine = candidate.node.labels[key];
  const other = [...working, ...taken].find(({ node }) => node.labels[key] !== mine);
  if (other === undefined) return undefined;
  const where = other.node.labels[key] ?? 'no value';
  return {
    reason: 'WaitingForTopology',
    message: `nodes with ${where} of ${key} are being worked on`,
  };
}

function controlPlaneIsLast(
  candidate: Member,
  { input, working }: Survey,
  taken: readonly Member[],
): Blocked | undefined {
  if (!candidate.node.controlPlane) return undefined;
  const others = [...working, ...taken].filter((member) => member !== candidate);
  // One that does not answer cannot be waited for.
  const before = input.pool.filter(
    ({ state, node }) => state === 'waiting' && node.ready && !node.controlPlane,
  );
  const first = others.length > 0 ? others : before;
  if (first.length === 0) return undefined;
  return {
    reason: 'ControlPlaneLast',
    message: `control-plane nodes go last and one at a time, after ${nameNodes(first)}`,
  };
}
