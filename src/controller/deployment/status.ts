/**
 * The status of a KataDeployment: a pure function of the members and of what was decided.
 * Bounded: at most 20 failing nodes, whatever the fleet; KataNodes hold all.
 */
import { isDeepStrictEqual } from 'node:util';
import { kataDeploymentStatus, type KataDeploymentStatus } from '../../crds/kataDeployment.ts';
import { API_VERSION, REMOVE } from '../../crds/names.ts';
import type { KataError } from '../../errors.ts';
import * as events from '../events.ts';
import { failureOf, type Member, type MemberState } from '../nodes/member.ts';
import type { RolloutDecision } from '../rollout/decide.ts';
import type { Write } from '../writes.ts';
import { conditionList, type Verdict } from './conditions.ts';
import type { Membership } from './members.ts';
import type { Observed } from './observed.ts';
import { explainFailures, isFailing } from './degradation.ts';
import { lastProgressMs } from './progress.ts';
import { verdicts, type Counts, type VerdictInput } from './verdicts.ts';
import { counted, nameSome, nodes } from '../words.ts';

const MAX_FAILURES = 20;

export function installedStatus(
  o: Observed,
  input: Omit<VerdictInput, 'counts' | 'previous' | 'progressedAtMs'>,
): KataDeploymentStatus {
  const { target, members, classes, rollout, nowMs } = input;
  const previous = previousStatus(o);
  const counts = countNodes(members);
  const progressedAtMs = lastProgressMs(
    members,
    { target, blocked: rollout.blocked },
    previous,
    nowMs,
  );
  const judged = verdicts({ ...input, counts, previous, progressedAtMs });
  const version =
    members.pool.find((member) => member.state === 'current')?.status?.artifacts?.version ??
    previous.version;
  const currentRevision = judged.Available.status === 'True' ? target : previous.currentRevision;
  return {
    ...withConditions(o, judged, nowMs),
    ...(version === undefined ? {} : { version }),
    targetRevision: target,
    ...(currentRevision === undefined ? {} : { currentRevision }),
    nodes: counts,
    ...(rollout.waves.total === 0 ? {} : { wave: waveOf(rollout.waves) }),
    lastProgressTime: new Date(progressedAtMs).toISOString(),
    ...failures([...members.pool, ...members.leaving]),
    runtimeClasses: [...classes.names].sort(),
  };
}

/** What was wrong with the specification; everything else stays as it was. */
export function refusedStatus(o: Observed, error: KataError, nowMs: number): KataDeploymentStatus {
  const previous = previousStatus(o);
  const message = `${error.message}. Next: ${error.remedy}`;
  const keeps = previous.currentRevision === undefined ? '' : 'Nodes keep what they have. ';
  const judged: Record<string, Verdict> = {
    Available: { status: 'False', reason: error.reason, message: `${keeps}${message}` },
    Progressing: {
      status: 'False',
      reason: error.reason,
      message: 'No node is touched until the specification is corrected.',
    },
    Degraded: { status: 'True', reason: error.reason, message },
  };
  return { ...previous, ...withConditions(o, judged, nowMs) };
}

function waveOf({ present, total }: RolloutDecision['waves']): string {
  return `${String(present)}/${String(total)}`;
}

export function uninstallStatus(
  o: Observed,
  members: Membership,
  { blockedBy, podsLeft }: { blockedBy: readonly string[]; podsLeft: number },
  nowMs: number,
): KataDeploymentStatus {
  const left = members.leaving.length;
  const message = uninstallProgress(members, blockedBy, podsLeft);
  const judged: Record<string, Verdict> = {
    Available: {
      status: 'False',
      reason: 'Uninstalling',
      message: 'The KataDeployment is being deleted.',
    },
    Progressing: { status: 'True', reason: 'Uninstalling', message },
    Degraded: uninstallTrouble(members, blockedBy, message),
  };
  return {
    ...previousStatus(o),
    ...withConditions(o, judged, nowMs),
    nodes: { ...countNodes(members), desired: 0, removing: left },
    ...failures(members.leaving),
  };
}

function uninstallProgress(
  { leaving }: Membership,
  blockedBy: readonly string[],
  podsLeft: number,
): string {
  if (blockedBy.length > 0)
    return `Waiting for ${nameSome(blockedBy)} to end; delete these Pods to go on.`;
  const silent = leaving.filter(({ node }) => !node.ready).map(({ node }) => node.name);
  if (leaving.length > 0)
    return silent.length === 0
      ? `Releasing ${nodes(leaving.length)}.`
      : `Releasing ${nodes(leaving.length)}; ${nameSome(silent)} not Ready: a node that never comes back is forgotten when its Node object is deleted.`;
  return `All nodes are released; ${counted(podsLeft, 'Pod')} of the operator still to end.`;
}

function uninstallTrouble(
  { leaving }: Membership,
  blockedBy: readonly string[],
  message: string,
): Verdict {
  const failing = leaving.filter(
    ({ status }) => status?.error !== undefined && status.revision === REMOVE,
  );
  if (failing.length > 0) {
    return { status: 'True', reason: 'NodesFailed', message: explainFailures(failing) };
  }
  if (blockedBy.length > 0) return { status: 'True', reason: 'PodsInUse', message };
  return { status: 'False', reason: 'Uninstalling', message };
}

function withConditions(
  o: Observed,
  judged: Record<string, Verdict>,
  nowMs: number,
): Pick<KataDeploymentStatus, 'observedGeneration' | 'conditions'> {
  const { generation } = o.deployment;
  const conditions = conditionList(previousStatus(o).conditions ?? [], judged, generation, nowMs);
  return { observedGeneration: generation, conditions };
}

function countNodes({ pool, leaving }: Membership): Counts {
  const count = (...states: MemberState[]): number =>
    pool.filter(({ state }) => states.includes(state)).length;
  const unsupported = count('unsupported');
  return {
    desired: pool.length - unsupported - count('conflict', 'skipped'),
    ready: count('current'),
    failed: count('failed', 'returned'),
    unsupported,
    skipped: count('skipped'),
    inProgress: count('inProgress', 'awaitingRestart'),
    waiting: count('waiting'),
    removing: leaving.length,
  };
}

function failures(members: readonly Member[]): Pick<KataDeploymentStatus, 'failures'> {
  const list = members.filter(isFailing).flatMap((member) => {
    const failure = failureOf(member);
    if (failure === undefined) return [];
    const { step, reason, message } = failure.error;
    return [{ node: member.node.name, step, reason, message, since: failure.since }];
  });
  return list.length === 0 ? {} : { failures: list.slice(0, MAX_FAILURES) };
}

function previousStatus(o: Observed): KataDeploymentStatus {
  const parsed = kataDeploymentStatus.safeParse(o.deployment.status ?? {});
  return parsed.success ? parsed.data : {};
}

/** The status write, when it says something new, and an Event for what people want to be told. */
export function statusWrites(o: Observed, status: KataDeploymentStatus): Write[] {
  if (isDeepStrictEqual(o.deployment.status, status)) return [];
  const { name, uid, resourceVersion } = o.deployment;
  return [
    {
      verb: 'apply',
      manager: 'status',
      subresource: 'status',
      object: { apiVersion: API_VERSION, kind: 'KataDeployment', metadata: { name, uid }, status },
      seen: resourceVersion,
    },
    ...conditionEvents(o, status),
  ];
}

function conditionEvents(o: Observed, status: KataDeploymentStatus): Write[] {
  const before = previousStatus(o).conditions ?? [];
  return (status.conditions ?? []).flatMap((condition): Write[] => {
    const old = before.find(({ type }) => type === condition.type);
    if (condition.status !== 'True') return [];
    if (old?.status === condition.status && old.reason === condition.reason) return [];
    if (condition.type === 'Available') {
      return [{ verb: 'event', event: events.available(o.deployment, condition.message) }];
    }
    if (condition.type === 'Degraded') {
      const { reason, message } = condition;
      return [{ verb: 'event', event: events.degraded(o.deployment, reason, message) }];
    }
    return [];
  });
}
