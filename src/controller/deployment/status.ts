/**
 * The status of a KataDeployment: a pure function of the members and of what was decided.
 * Every message names what to do next. Bounded: at most 20 failing nodes, whatever the fleet.
 */
import { isDeepStrictEqual } from 'node:util';
import {
  kataDeploymentStatus,
  type KataDeploymentSpec,
  type KataDeploymentStatus,
} from '../../crds/kataDeployment.ts';
import { API_VERSION } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import { durationMs } from '../duration.ts';
import * as events from '../events.ts';
import type { Member, MemberState } from '../nodes/member.ts';
import type { Removal } from '../nodes/removal.ts';
import type { RolloutDecision } from '../rollout/decide.ts';
import type { ClassDecision } from '../runtimeclass/decide.ts';
import type { Write } from '../writes.ts';
import { conditionList, type Verdict } from './conditions.ts';
import type { Membership } from './members.ts';
import type { Observed } from './observed.ts';

const MAX_FAILURES = 20;
const MAX_NAMES = 5;

export interface InstalledInput {
  readonly o: Observed;
  readonly spec: KataDeploymentSpec;
  readonly target: string;
  readonly members: Membership;
  readonly rollout: RolloutDecision;
  readonly classes: ClassDecision;
  readonly removals: readonly Removal[];
  readonly nowMs: number;
}

export function installedStatus(input: InstalledInput): KataDeploymentStatus {
  const { o, target, members, classes, nowMs } = input;
  const previous = previousStatus(o);
  const counts = countNodes(members);
  const verdicts = {
    Available: availability(input, counts),
    Progressing: progress(input, counts),
    Degraded: degradation(input, counts),
  };
  const version =
    members.pool.find((member) => member.state === 'current')?.status?.artifacts?.version ??
    previous.version;
  const currentRevision = verdicts.Available.status === 'True' ? target : previous.currentRevision;
  return {
    observedGeneration: o.deployment.generation,
    conditions: conditionList(previous.conditions ?? [], verdicts, o.deployment.generation, nowMs),
    ...(version === undefined ? {} : { version }),
    targetRevision: target,
    ...(currentRevision === undefined ? {} : { currentRevision }),
    nodes: counts,
    ...failures([...members.pool, ...members.leaving]),
    runtimeClasses: [...classes.names].sort(),
  };
}

type Counts = Required<NonNullable<KataDeploymentStatus['nodes']>>;

function countNodes({ pool, leaving }: Membership): { [Key in keyof Counts]: number } {
  const count = (...states: MemberState[]): number =>
    pool.filter(({ state }) => states.includes(state)).length;
  const unsupported = count('unsupported');
  return {
    desired: pool.length - unsupported - count('conflict'),
    ready: count('current'),
    failed: count('failed'),
    unsupported,
    inProgress: count('inProgress', 'awaitingRestart'),
    waiting: count('waiting'),
    removing: leaving.length,
  };
}

function availability(input: InstalledInput, counts: ReturnType<typeof countNodes>): Verdict {
  const { desired, ready, unsupported } = counts;
  if (desired === 0) {
    return unsupported > 0
      ? {
          status: 'False',
          reason: 'NoCapableNodes',
          message: `None of the ${unsupported} selected nodes can run Kata; kubectl get katanodes says why for each.`,
        }
      : {
          status: 'False',
          reason: 'NoNodesSelected',
          message: 'No node is selected; check spec.nodes.selector and excludeControlPlane.',
        };
  }
  const late = input.members.pool.filter(
    (member) => isExpected(member) && !isNewcomer(member, input),
  );
  if (late.every((member) => member.state === 'current')) {
    return {
      status: 'True',
      reason: 'AllNodesReady',
      message: `${ready} of ${desired} nodes are Ready at revision ${input.target}.`,
    };
  }
  return {
    status: 'False',
    reason: 'NodesNotReady',
    message: `${ready} of ${desired} nodes are Ready at revision ${input.target}.`,
  };
}

function isExpected({ state }: Member): boolean {
  return state !== 'unsupported' && state !== 'conflict';
}

/** A node that has just joined does not take back what was true of all the others. */
function isNewcomer({ node, status, state }: Member, { o, spec, nowMs }: InstalledInput): boolean {
  if (state === 'current' || state === 'failed' || status?.previousRevision !== undefined)
    return false;
  const wasAvailable = previousStatus(o).conditions?.some(
    ({ type, status: value }) => type === 'Available' && value === 'True',
  );
  return wasAvailable === true && nowMs - node.createdAtMs < durationMs(spec.rollout.nodeTimeout);
}

function progress(
  { rollout, target, members }: InstalledInput,
  counts: ReturnType<typeof countNodes>,
): Verdict {
  const { inProgress, waiting, removing, ready, desired } = counts;
  if (rollout.blocked !== undefined && inProgress === 0) {
    return { status: 'False', reason: rollout.blocked.reason, message: rollout.blocked.message };
  }
  const awaiting = members.pool
    .filter(({ state }) => state === 'awaitingRestart')
    .map(({ node }) => node.name);
  if (awaiting.length > 0 && awaiting.length === inProgress) {
    return {
      status: 'False',
      reason: 'AwaitingRestart',
      message: `The engine must be restarted by hand on ${nameSome(awaiting)}; then annotate the KataNode with kata-operator.dev/retry.`,
    };
  }
  if (inProgress + waiting + removing > 0) {
    const why = rollout.blocked === undefined ? '' : `: ${rollout.blocked.message}`;
    return {
      status: 'True',
      reason: 'RolloutInProgress',
      message: `Revision ${target}: ${ready} of ${desired} nodes Ready, ${inProgress} in progress, ${waiting} waiting, ${removing} being released${why}.`,
    };
  }
  return { status: 'False', reason: 'Complete', message: `Nothing to do at revision ${target}.` };
}

function degradation(
  { members, classes, removals, rollout }: InstalledInput,
  counts: ReturnType<typeof countNodes>,
): Verdict {
  const failing = [...members.pool, ...members.leaving].filter(
    ({ status, state }) =>
      state === 'failed' || (state === 'removing' && status?.error !== undefined),
  );
  if (failing.length > 0) {
    const lead =
      rollout.blocked?.reason === 'FailureBudgetExhausted'
        ? rollout.blocked.message
        : `${failing.length} of ${counts.desired} nodes failed.`;
    const reason =
      rollout.blocked?.reason === 'FailureBudgetExhausted' ? rollout.blocked.reason : 'NodesFailed';
    return {
      status: 'True',
      reason,
      message: [lead, ...failing.slice(0, MAX_NAMES).map(explainFailure)].join('\n'),
    };
  }
  const conflict = members.pool.find(({ state }) => state === 'conflict');
  if (conflict !== undefined) {
    const error = new KataError('KATA_E_NODE_CONFLICT', {
      node: conflict.node.name,
      owner: conflict.kataNode?.spec.deployment ?? 'another',
    });
    return { status: 'True', reason: error.reason, message: `${error.message}. ${error.remedy}` };
  }
  if (classes.conflicts.length > 0) {
    return {
      status: 'True',
      reason: 'RuntimeClassConflict',
      message: `RuntimeClass ${nameSome(classes.conflicts)} exists and is not ours; it is left alone. Delete it, or name the runtime otherwise.`,
    };
  }
  const blockers = removals.flatMap(({ blockedBy }) => blockedBy);
  if (blockers.length > 0) {
    return {
      status: 'True',
      reason: 'PodsInUse',
      message: `Nodes that left the selection wait for ${nameSome(blockers)}; delete these Pods to let the nodes go.`,
    };
  }
  return { status: 'False', reason: 'AsExpected', message: 'No node has failed.' };
}

function explainFailure({ node, status }: Member): string {
  const error = status?.error;
  return error === undefined
    ? `${node.name}: unknown`
    : `${node.name}: ${error.step}/${error.reason}: ${error.message} Next: ${error.remedy}`;
}

function failures(members: readonly Member[]): Pick<KataDeploymentStatus, 'failures'> {
  const list = members.flatMap(({ node, status, state }) => {
    const { error } = status ?? {};
    if (error === undefined || (state !== 'failed' && state !== 'removing')) return [];
    return [
      {
        node: node.name,
        step: error.step,
        reason: error.reason,
        message: error.message,
        since: status?.since ?? '',
      },
    ];
  });
  return list.length === 0 ? {} : { failures: list.slice(0, MAX_FAILURES) };
}

export function refusedStatus(o: Observed, error: KataError, nowMs: number): KataDeploymentStatus {
  const previous = previousStatus(o);
  const message = `${error.message}. Next: ${error.remedy}`;
  const wasAvailable = previous.conditions?.find(({ type }) => type === 'Available');
  const verdicts = {
    Available: {
      status: 'False' as const,
      reason: error.reason,
      message:
        wasAvailable?.status === 'True' ? `Nodes keep the previous revision. ${message}` : message,
    },
    Progressing: {
      status: 'False' as const,
      reason: error.reason,
      message: 'No node is touched until the specification is corrected.',
    },
    Degraded: { status: 'True' as const, reason: error.reason, message },
  };
  return {
    ...previous,
    observedGeneration: o.deployment.generation,
    conditions: conditionList(previous.conditions ?? [], verdicts, o.deployment.generation, nowMs),
  };
}

interface UninstallInput {
  readonly o: Observed;
  readonly members: Membership;
  readonly blockedBy: readonly string[];
  readonly nowMs: number;
}

export function uninstallStatus({
  o,
  members,
  blockedBy,
  nowMs,
}: UninstallInput): KataDeploymentStatus {
  const previous = previousStatus(o);
  const left = members.leaving.length;
  const failing = members.leaving.filter(
    ({ status }) => status?.error !== undefined && status.revision === 'remove',
  );
  const waits = blockedBy.length > 0;
  const message = waits
    ? `Waiting for ${nameSome(blockedBy)} to end; delete these Pods to go on.`
    : `${left} nodes are being released.`;
  const degraded: Verdict =
    failing.length > 0
      ? {
          status: 'True',
          reason: 'NodesFailed',
          message: failing.slice(0, MAX_NAMES).map(explainFailure).join('\n'),
        }
      : { status: waits ? 'True' : 'False', reason: waits ? 'PodsInUse' : 'Uninstalling', message };
  const verdicts = {
    Available: {
      status: 'False' as const,
      reason: 'Uninstalling',
      message: 'The KataDeployment is being deleted.',
    },
    Progressing: { status: 'True' as const, reason: 'Uninstalling', message },
    Degraded: degraded,
  };
  return {
    ...previous,
    observedGeneration: o.deployment.generation,
    conditions: conditionList(previous.conditions ?? [], verdicts, o.deployment.generation, nowMs),
    nodes: { ...countNodes(members), desired: 0, removing: left },
    ...failures(members.leaving),
  };
}

export function previousStatus(o: Observed): KataDeploymentStatus {
  const parsed = kataDeploymentStatus.safeParse(o.deployment.status ?? {});
  return parsed.success ? parsed.data : {};
}

/** The status write, when it says something new, and an Event for what people want to be told. */
export function statusWrites(o: Observed, status: KataDeploymentStatus): Write[] {
  if (isDeepStrictEqual(o.deployment.status, status)) return [];
  const { name, uid } = o.deployment;
  return [
    {
      verb: 'apply',
      manager: 'status',
      subresource: 'status',
      object: { apiVersion: API_VERSION, kind: 'KataDeployment', metadata: { name, uid }, status },
    },
    ...conditionEvents(o, status),
  ];
}

function conditionEvents(o: Observed, status: KataDeploymentStatus): Write[] {
  const before = new Map(
    (previousStatus(o).conditions ?? []).map((condition) => [condition.type, condition]),
  );
  return (status.conditions ?? []).flatMap((condition): Write[] => {
    const old = before.get(condition.type);
    if (old?.status === condition.status && old.reason === condition.reason) return [];
    if (condition.type === 'Available' && condition.status === 'True')
      return [{ verb: 'event', event: events.available(o.deployment, condition.message) }];
    if (condition.type === 'Degraded' && condition.status === 'True')
      return [
        {
          verb: 'event',
          event: events.degraded(o.deployment, condition.reason, condition.message),
        },
      ];
    return [];
  });
}

function nameSome(names: readonly string[]): string {
  const more = names.length - MAX_NAMES;
  return `${names.slice(0, MAX_NAMES).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
