/**
 * Which nodes may be worked on now: given the target revision, tried again, cleaned. Pure: the observed members
 * and the policy in, members out, and in words why no more. Everything that may disturb a node takes one of the
 * same slots. Waves, windows and approval extend the list of gates below.
 */
import type { RolloutSpec } from '../../crds/kataDeployment.ts';
import { FAILED } from '../nodes/report.ts';
import type { Member } from '../nodes/member.ts';
import { KataError } from '../../errors.ts';

export interface RolloutInput {
  readonly pool: readonly Member[];
  readonly leaving: readonly Member[];
  /** True when a leaving node may be cleaned: nothing runs there that holds it back. */
  readonly isRemovable: (member: Member) => boolean;
  readonly policy: Pick<RolloutSpec, 'maxParallel' | 'maxUnavailable' | 'failureBudget' | 'paused'>;
  /** The whole KataDeployment goes: that was asked for by name, and a pause does not hold it. */
  readonly uninstalling: boolean;
}

export interface RolloutDecision {
  /** Of the pool: to be given the target revision, or another attempt. */
  readonly claim: readonly Member[];
  /** Of the leaving: to be cleaned, or tried again. */
  readonly remove: readonly Member[];
  /** Why nodes wait, when some do and none may go. */
  readonly blocked: Blocked | undefined;
}

interface Blocked {
  readonly reason: string;
  readonly message: string;
}

/** A gate lets a candidate go on (undefined) or says why it stands still. */
type Gate = (candidate: Member, input: RolloutInput) => Blocked | undefined;

const gates: readonly Gate[] = [
  /* a person said stop */ isPaused,
  /* enough nodes are broken already */ budgetIsSpent,
];

export function decideRollout(input: RolloutInput): RolloutDecision {
  const candidates = candidatesOf(input).sort(byOrder);
  const open = candidates.filter((member) => gateOf(member, input) === undefined);
  const slots = freeSlots(input);
  const taken = takeInOrder(open, slots.free, input);
  return {
    claim: taken.filter((member) => input.pool.includes(member)),
    remove: taken.filter((member) => input.leaving.includes(member)),
    blocked: blockedBy(input, candidates, taken, slots.explanation),
  };
}

/** A closed gate is told even while others go on; a lack of slots only when nobody does. */
function blockedBy(
  input: RolloutInput,
  candidates: readonly Member[],
  taken: readonly Member[],
  explanation: string,
): Blocked | undefined {
  for (const member of candidates) {
    const closed = gateOf(member, input);
    if (closed !== undefined) return closed;
  }
  if (candidates.length === 0) return unready(input);
  return taken.length > 0 ? undefined : { reason: 'WaitingForSlot', message: explanation };
}

/** Nodes that wait for something to be done and can have it done. */
function candidatesOf({ pool, leaving, isRemovable }: RolloutInput): Member[] {
  const wanted = pool.filter(({ state, retry }) => state === 'waiting' || retry !== undefined);
  const unwanted = leaving.filter((member) =>
    member.state === 'removing' ? member.retry !== undefined : isRemovable(member),
  );
  return [...wanted, ...unwanted].filter(({ node, working }) => node.ready && !working);
}

function gateOf(member: Member, input: RolloutInput): Blocked | undefined {
  // A person who names a node means it, whatever holds the others.
  if (member.retry?.reason === 'Asked') return undefined;
  for (const gate of gates) {
    const blocked = gate(member, input);
    if (blocked !== undefined) return blocked;
  }
  return undefined;
}

function isPaused(_: Member, { policy, uninstalling }: RolloutInput): Blocked | undefined {
  return policy.paused && !uninstalling
    ? { reason: 'Paused', message: 'spec.rollout.paused is true; set it to false to go on' }
    : undefined;
}

/** Holds what would touch one more node; a node that has failed may recover. */
function budgetIsSpent(
  candidate: Member,
  { pool, leaving, policy }: RolloutInput,
): Blocked | undefined {
  if (hasFailed(candidate) || leaving.includes(candidate)) return undefined;
  const failed = pool.filter(hasFailed).length;
  if (failed <= policy.failureBudget) return undefined;
  const error = new KataError('KATA_E_FAILURE_BUDGET', {
    failed,
    desired: pool.length,
    budget: policy.failureBudget,
  });
  return { reason: error.reason, message: `${error.message}. ${error.remedy}` };
}

/** Its last result was bad; that it is tried again makes it no better until a good one comes. */
function hasFailed({ state, status }: Member): boolean {
  return (
    (state === 'failed' || state === 'inProgress') &&
    status !== undefined &&
    FAILED.includes(status.phase)
  );
}

/** From the claim on, also before there is a Pod. */
function isWorkedOn({ state, status, working }: Member): boolean {
  return working || state === 'inProgress' || (state === 'removing' && status?.error === undefined);
}

function freeSlots({ pool, leaving, policy }: RolloutInput): { free: number; explanation: string } {
  const all = [...pool, ...leaving];
  const working = all.filter(isWorkedOn);
  const unavailable = all.filter(({ node }) => !node.ready || node.unschedulable);
  const parallel = shareOf(policy.maxParallel, all.length) - working.length;
  // A node that is worked on may become unavailable at any moment: it has its place taken already.
  const disrupted = unavailable.length + working.filter((m) => !unavailable.includes(m)).length;
  const disruption = shareOf(policy.maxUnavailable, all.length) - disrupted;
  return {
    free: Math.max(0, Math.min(parallel, disruption)),
    explanation:
      parallel <= disruption || unavailable.length === 0
        ? `${working.length} being worked on, rollout.maxParallel is ${policy.maxParallel}`
        : `unavailable: ${namesOf(unavailable)}; rollout.maxUnavailable is ${policy.maxUnavailable}`,
  };
}

/** Nobody can be worked on because those that wait do not answer. */
function unready({ pool }: RolloutInput): Blocked | undefined {
  const silent = pool.filter(({ state, node }) => state === 'waiting' && !node.ready);
  if (silent.length === 0) return undefined;
  return { reason: 'NodesNotReady', message: `these nodes are not Ready: ${namesOf(silent)}` };
}

function namesOf(members: readonly Member[]): string {
  return members
    .map(({ node }) => node.name)
    .slice(0, 5)
    .join(', ');
}

/** `3` is three nodes, `10%` rounds up: a small pool still moves. */
function shareOf(countOrPercent: string, poolSize: number): number {
  const number = Number.parseInt(countOrPercent, 10);
  return countOrPercent.endsWith('%') ? Math.ceil((poolSize * number) / 100) : number;
}

/**
 * Asked for by a person, then nodes that fail or leave, then workers before control-plane nodes, healthy before
 * cordoned, then by name: the same order in every replica.
 */
function byOrder(a: Member, b: Member): number {
  return (
    Number(b.retry?.reason === 'Asked') - Number(a.retry?.reason === 'Asked') ||
    Number(a.state === 'waiting') - Number(b.state === 'waiting') ||
    Number(a.node.controlPlane) - Number(b.node.controlPlane) ||
    Number(a.node.unschedulable) - Number(b.node.unschedulable) ||
    (a.node.name < b.node.name ? -1 : 1)
  );
}

/** Control-plane nodes only when no other node waits or is worked on, and one at a time. */
function takeInOrder(
  candidates: readonly Member[],
  slots: number,
  { pool, leaving }: RolloutInput,
): Member[] {
  const workers = candidates.filter(({ node }) => !node.controlPlane);
  if (workers.length > 0) return workers.slice(0, slots);
  const busy = [...pool, ...leaving].some(
    (member) => isWorkedOn(member) || (member.state === 'waiting' && !member.node.controlPlane),
  );
  return busy ? [] : candidates.slice(0, Math.min(slots, 1));
}
