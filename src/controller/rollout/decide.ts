/**
 * Which nodes may be worked on now: given the target revision, tried again, cleaned. Pure: the observed members
 * and the policy in, members out, and in words why no more. Everything that may disturb a node takes one of the
 * same slots.
 */
import { gateOf, turnOf, type Blocked } from './gates.ts';
import type { Member } from '../nodes/member.ts';
import { inOrder } from './order.ts';
import { nameNodes } from '../words.ts';
import { survey, type RolloutInput } from './survey.ts';
import type { Waves } from './waves.ts';

export interface RolloutDecision {
  /** Of the pool: to be given the target revision, or another attempt. */
  readonly claim: readonly Member[];
  /** Of the leaving: to be cleaned, or tried again. */
  readonly remove: readonly Member[];
  /** Why nodes wait, when some do and none may go. */
  readonly blocked: Blocked | undefined;
  readonly waves: Waves;
  /** Became Ready and then stopped being so while their wave soaked. */
  readonly down: readonly Member[];
}

export function decideRollout(input: RolloutInput): RolloutDecision {
  const seen = survey(input);
  const taken: Member[] = [];
  let closed: Blocked | undefined;
  let waits: Blocked | undefined;
  const candidates = inOrder(candidatesOf(input), input.policy);
  for (const candidate of candidates) {
    const gate = gateOf(candidate, seen);
    closed ??= gate;
    if (gate !== undefined) continue;
    const turn = turnOf(candidate, seen, taken);
    if (turn === undefined) taken.push(candidate);
    else waits ??= turn;
  }
  return {
    claim: taken.filter((member) => !seen.leaving.has(member)),
    remove: taken.filter((member) => seen.leaving.has(member)),
    // A closed gate is told even while others go on; whose turn it is not, only when nobody does.
    blocked:
      closed ??
      (taken.length > 0 ? undefined : waits) ??
      (candidates.length === 0 ? unready(input) : undefined),
    waves: seen.waves,
    down: seen.down,
  };
}

/** Nodes that wait for something to be done and can have it done. */
function candidatesOf({ pool, leaving, isRemovable }: RolloutInput): Member[] {
  const wanted = pool.filter(({ state, retry }) => state === 'waiting' || retry !== undefined);
  const unwanted = leaving.filter((member) =>
    member.state === 'removing' ? member.retry !== undefined : isRemovable(member),
  );
  return [...wanted, ...unwanted].filter(({ node, working }) => node.ready && !working);
}

/** Nobody can be worked on because those that wait do not answer. */
function unready({ pool }: RolloutInput): Blocked | undefined {
  const silent = pool.filter(({ state, node }) => state === 'waiting' && !node.ready);
  if (silent.length === 0) return undefined;
  return { reason: 'NodesNotReady', message: `these nodes are not Ready: ${nameNodes(silent)}` };
}
