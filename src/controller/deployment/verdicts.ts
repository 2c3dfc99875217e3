/**
 * The three conditions of a KataDeployment that is being installed. Each is a list of checks in the order
 * in which they matter: the first that has something to say decides, and says what to do next.
 */
import type { KataDeploymentSpec, KataDeploymentStatus } from '../../crds/kataDeployment.ts';
import { durationMs } from '../../crds/primitives.ts';
import type { Member } from '../nodes/member.ts';
import type { Removal } from '../nodes/removal.ts';
import type { RolloutDecision } from '../rollout/decide.ts';
import type { ClassDecision } from '../runtimeclass/decide.ts';
import type { Verdict } from './conditions.ts';
import type { Membership } from './members.ts';
import { degradation } from './degradation.ts';
import { progress } from './progress.ts';
import { nameSome, nodes } from '../words.ts';

export interface VerdictInput {
  readonly spec: KataDeploymentSpec;
  readonly target: string;
  readonly members: Membership;
  readonly rollout: RolloutDecision;
  readonly classes: ClassDecision;
  readonly removals: readonly Removal[];
  readonly counts: Counts;
  readonly previous: KataDeploymentStatus;
  /** When the rollout last moved. */
  readonly progressedAtMs: number;
  readonly nowMs: number;
}

export type Counts = {
  readonly [Key in keyof Required<NonNullable<KataDeploymentStatus['nodes']>>]: number;
};

export type Check = (input: VerdictInput) => Verdict | undefined;

const availability: readonly Check[] = [
  /* kubectl wait must not succeed on a selector with a typing error */ nothingIsSelected,
  /* nor when others have all nodes, or keep our Pods away */ nothingIsReachable,
  /* nor on a fleet without KVM */ nothingIsCapable,
  everyExpectedNodeIsReady,
];

export function verdicts(
  input: VerdictInput,
): Record<'Available' | 'Progressing' | 'Degraded', Verdict> {
  const { ready, desired } = input.counts;
  return {
    Available: firstOf(availability, input) ?? {
      status: 'False',
      reason: 'NodesNotReady',
      message: `${ready} of ${nodes(desired)} Ready at revision ${input.target}.`,
    },
    Progressing: firstOf(progress, input) ?? {
      status: 'False',
      reason: 'Complete',
      message: `Nothing to do at revision ${input.target}.`,
    },
    Degraded: firstOf(degradation, input) ?? {
      status: 'False',
      reason: 'AsExpected',
      message: 'No node has failed.',
    },
  };
}

function firstOf(checks: readonly Check[], input: VerdictInput): Verdict | undefined {
  for (const check of checks) {
    const verdict = check(input);
    if (verdict !== undefined) return verdict;
  }
  return undefined;
}

function nothingIsSelected({ counts, members }: VerdictInput): Verdict | undefined {
  if (counts.desired > 0 || members.pool.length > 0) return undefined;
  return {
    status: 'False',
    reason: 'NoNodesSelected',
    message: 'No node is selected; check spec.nodes.selector and spec.nodes.excludeControlPlane.',
  };
}

function nothingIsReachable({ counts, members }: VerdictInput): Verdict | undefined {
  if (counts.desired > 0 || counts.unsupported > 0) return undefined;
  return {
    status: 'False',
    reason: 'NoUsableNodes',
    message: `Of ${nodes(members.pool.length)} selected, none can be worked on.${hindrances(members)}`,
  };
}

function nothingIsCapable({ counts }: VerdictInput): Verdict | undefined {
  if (counts.desired > 0) return undefined;
  return {
    status: 'False',
    reason: 'NoCapableNodes',
    message: `Of ${nodes(counts.unsupported)} selected, none can run Kata; kubectl get katanodes says why for each.`,
  };
}

function everyExpectedNodeIsReady(input: VerdictInput): Verdict | undefined {
  const { ready, desired } = input.counts;
  const expected = input.members.pool.filter(
    (member) => isExpected(member) && !isNewcomer(member, input),
  );
  if (expected.some((member) => member.state !== 'current')) return undefined;
  return {
    status: 'True',
    reason: 'AllNodesReady',
    message: `${ready} of ${nodes(desired)} Ready at revision ${input.target}.${hindrances(input.members)}`,
  };
}

function isExpected({ state }: Member): boolean {
  return state !== 'unsupported' && state !== 'conflict' && state !== 'skipped';
}

/** Selected nodes to which no Pod of ours can go, and why. */
function hindrances({ pool }: Membership): string {
  const reasons = pool.flatMap(({ state, hindrance }) =>
    state === 'skipped' ? [hindrance ?? ''] : [],
  );
  return reasons.length === 0
    ? ''
    : ` Left out: ${nameSome(reasons)}; select other nodes, or tolerate the taint in spec.nodes.tolerations.`;
}

/** A node that has just joined does not take back what was true of all the others. */
function isNewcomer(
  { node, status, state }: Member,
  { previous, spec, target, nowMs }: VerdictInput,
): boolean {
  if (state === 'current' || state === 'failed' || state === 'returned') return false;
  // An edit is something else: then everybody has to follow.
  if (status?.previousRevision !== undefined || previous.currentRevision !== target) return false;
  const wasAvailable = previous.conditions?.some(
    (condition) => condition.type === 'Available' && condition.status === 'True',
  );
  return wasAvailable === true && nowMs - node.createdAtMs < durationMs(spec.rollout.nodeTimeout);
}
