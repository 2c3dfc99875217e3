/**
 * Which nodes may be given the target revision now. Pure: the observed pool and the policy in, names out,
 * and in words why no more. Waves, windows and approval extend the list of gates below.
 */
import type { RolloutSpec } from '../../crds/kataDeployment.ts';
import type { Member } from '../nodes/member.ts';
import { KataError } from '../../errors.ts';

export interface RolloutInput {
  readonly pool: readonly Member[];
  readonly policy: Pick<RolloutSpec, 'maxParallel' | 'maxUnavailable' | 'failureBudget' | 'paused'>;
}

export interface RolloutDecision {
  readonly claim: readonly Member[];
  /** Why nodes wait, when some do and none may go. */
  readonly blocked: { readonly reason: string; readonly message: string } | undefined;
}

/** A gate lets the rollout go on (undefined) or says why it stands still. */
type Gate = (input: RolloutInput) => { reason: string; message: string } | undefined;

const gates: readonly Gate[] = [
  /* a person said stop */ isPaused,
  /* enough nodes are broken already */ budgetIsSpent,
];

export function decideRollout(input: RolloutInput): RolloutDecision {
  const waiting = input.pool.filter((member) => member.state === 'waiting');
  if (waiting.length === 0) return { claim: [], blocked: undefined };
  for (const gate of gates) {
    const blocked = gate(input);
    if (blocked !== undefined) return { claim: [], blocked };
  }
  const slots = freeSlots(input);
  const candidates = waiting.filter((member) => member.node.ready).sort(byOrder);
  const claim = takeInOrder(candidates, slots.free, input.pool);
  return {
    claim,
    blocked:
      claim.length > 0 ? undefined : { reason: 'WaitingForSlot', message: slots.explanation },
  };
}

function isPaused({ policy }: RolloutInput): ReturnType<Gate> {
  return policy.paused
    ? { reason: 'Paused', message: 'spec.rollout.paused is true; set it to false to go on' }
    : undefined;
}

function budgetIsSpent({ pool, policy }: RolloutInput): ReturnType<Gate> {
  const failed = pool.filter((member) => member.state === 'failed').length;
  if (failed <= policy.failureBudget) return undefined;
  const error = new KataError('KATA_E_FAILURE_BUDGET', {
    failed,
    desired: pool.length,
    budget: policy.failureBudget,
  });
  return { reason: error.reason, message: `${error.message}. ${error.remedy}` };
}

function freeSlots({ pool, policy }: RolloutInput): { free: number; explanation: string } {
  const isWorkedOn = (member: Member): boolean => member.state === 'inProgress';
  const inProgress = pool.filter(isWorkedOn).length;
  const unavailable = pool.filter((member) => !member.node.ready || member.node.unschedulable);
  const parallel = shareOf(policy.maxParallel, pool.length) - inProgress;
  // A node that is worked on may become unavailable at any moment: it has its place taken already.
  const disrupted =
    unavailable.length + pool.filter((m) => isWorkedOn(m) && !unavailable.includes(m)).length;
  const disruption = shareOf(policy.maxUnavailable, pool.length) - disrupted;
  const names = unavailable.map((member) => member.node.name).slice(0, 5);
  return {
    free: Math.max(0, Math.min(parallel, disruption)),
    explanation:
      parallel <= disruption || unavailable.length === 0
        ? `${inProgress} being worked on, rollout.maxParallel is ${policy.maxParallel}`
        : `unavailable: ${names.join(', ')}; rollout.maxUnavailable is ${policy.maxUnavailable}`,
  };
}

/** `3` is three nodes, `10%` of the pool rounds up: a small pool still moves. */
export function shareOf(countOrPercent: string, poolSize: number): number {
  const number = Number.parseInt(countOrPercent, 10);
  return countOrPercent.endsWith('%') ? Math.ceil((poolSize * number) / 100) : number;
}

/** Workers before control-plane nodes, healthy before cordoned, then by name: the same order in every replica. */
function byOrder(a: Member, b: Member): number {
  return (
    Number(a.node.controlPlane) - Number(b.node.controlPlane) ||
    Number(a.node.unschedulable) - Number(b.node.unschedulable) ||
    (a.node.name < b.node.name ? -1 : 1)
  );
}

/** Control-plane nodes only when no other node waits or is worked on, and one at a time. */
function takeInOrder(
  candidates: readonly Member[],
  slots: number,
  pool: readonly Member[],
): Member[] {
  const workers = candidates.filter((member) => !member.node.controlPlane);
  if (workers.length > 0) return workers.slice(0, slots);
  const busy = pool.some(
    (member) =>
      member.state === 'inProgress' || (member.state === 'waiting' && !member.node.controlPlane),
  );
  return busy ? [] : candidates.slice(0, Math.min(slots, 1));
}
