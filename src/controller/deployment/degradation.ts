/**
 * What makes a KataDeployment Degraded: checks in the order in which they matter to a person. Each names who is
 * meant and what to do next.
 */
import { ANNOTATION } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import { LASTING_REPAIRS } from '../nodes/attempts.ts';
import { failureOf, type Member } from '../nodes/member.ts';
import type { Verdict } from './conditions.ts';
import type { Check, VerdictInput } from './verdicts.ts';
import { MAX_NAMES, nameNodes, nameSome, nodes } from '../words.ts';

export const degradation: readonly Check[] = [
  /* broken nodes first: they need a person */ nodesFailed,
  nodesWentDown,
  repairDoesNotHold,
  nodeBelongsToAnother,
  classBelongsToAnother,
  podsHoldNodesBack,
];

function nodesFailed({ members, rollout, counts }: VerdictInput): Verdict | undefined {
  const failing = [...members.pool, ...members.leaving].filter(isFailing);
  if (failing.length === 0) return undefined;
  const isBudgetSpent = rollout.blocked?.reason === 'FailureBudgetExhausted';
  const lead = isBudgetSpent
    ? rollout.blocked.message
    : `${failing.length} of ${nodes(counts.desired)} failed.`;
  return {
    status: 'True',
    reason: isBudgetSpent ? rollout.blocked.reason : 'NodesFailed',
    message: `${lead}\n${explainFailures(failing)}`,
  };
}

/** Verified, and then no longer Ready, while their wave soaked. */
function nodesWentDown({ rollout, spec }: VerdictInput): Verdict | undefined {
  if (rollout.down.length === 0) return undefined;
  const names = nameNodes(rollout.down);
  const isBudgetSpent = rollout.blocked?.reason === 'FailureBudgetExhausted';
  return {
    status: 'True',
    reason: isBudgetSpent ? rollout.blocked.reason : 'NodesWentDown',
    message: `${names} stopped being Ready within ${spec.rollout.soak} of the change and count as failed. Next: look at kubelet and the engine there; a node that has nothing to do with it is taken out with the annotation ${ANNOTATION.skip}=true.`,
  };
}

/** A node of the pool that ended badly, or one that cannot be cleaned. */
export function isFailing({ state, status }: Member): boolean {
  return (
    state === 'failed' ||
    state === 'returned' ||
    (state === 'removing' && status?.error !== undefined)
  );
}

/** Repaired again and again: something else keeps changing the node. */
function repairDoesNotHold({ members }: VerdictInput): Verdict | undefined {
  const lasting = members.pool.filter(
    ({ state, status }) => state === 'current' && (status?.attempts ?? 1) > LASTING_REPAIRS,
  );
  if (lasting.length === 0) return undefined;
  const names = nameNodes(lasting);
  return {
    status: 'True',
    reason: 'RepairDoesNotHold',
    message: `${names}: what was installed keeps being changed by somebody else (${LASTING_REPAIRS} repairs in a row). Next: find what writes to the engine's configuration or /opt/kata there; the next repair comes after a longer pause.`,
  };
}

function nodeBelongsToAnother({ members }: VerdictInput): Verdict | undefined {
  const conflict = members.pool.find(({ state }) => state === 'conflict');
  if (conflict === undefined) return undefined;
  const error = new KataError('KATA_E_NODE_CONFLICT', {
    node: conflict.node.name,
    owner: conflict.owner ?? 'another',
  });
  return { status: 'True', reason: error.reason, message: `${error.message}. ${error.remedy}` };
}

function classBelongsToAnother({ classes }: VerdictInput): Verdict | undefined {
  const [first] = classes.conflicts;
  if (first === undefined) return undefined;
  const names = nameSome(classes.conflicts.map(({ name }) => name));
  const theirs =
    first.owner === undefined
      ? `exists and is not ours; it is left alone. Delete it, or name the runtime otherwise.`
      : `belongs to KataDeployment ${first.owner}; it is left alone. Name the runtime otherwise, with "base".`;
  return {
    status: 'True',
    reason: 'RuntimeClassConflict',
    message: `RuntimeClass ${names} ${theirs}`,
  };
}

function podsHoldNodesBack({ removals }: VerdictInput): Verdict | undefined {
  const blockers = removals.flatMap(({ blockedBy }) => blockedBy);
  if (blockers.length === 0) return undefined;
  return {
    status: 'True',
    reason: 'PodsInUse',
    message: `Nodes that left the selection wait for ${nameSome(blockers)}; delete these Pods to let the nodes go.`,
  };
}

function explainFailure(member: Member): string {
  const { node, kataNode, state } = member;
  const error = failureOf(member)?.error;
  if (error === undefined) return `${node.name}: unknown`;
  const now = state === 'returned' ? ` (now at revision ${kataNode?.spec.revision ?? ''})` : '';
  return `${node.name}${now}: ${error.step}/${error.reason}: ${error.message} Next: ${error.remedy}`;
}

export function explainFailures(members: readonly Member[]): string {
  return members.slice(0, MAX_NAMES).map(explainFailure).join('\n');
}
