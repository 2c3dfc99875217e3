/**
 * Whether a rollout moves: checks in the order in which they matter to a person. One that stands still says for
 * what it waits; one that has stood still for too long, although nobody wanted it to, is Stalled.
 */
import { durationMs } from '../../crds/primitives.ts';
import type { KataDeploymentStatus } from '../../crds/kataDeployment.ts';
import { timeMs } from '../cache/views.ts';
import type { Blocked } from '../rollout/gates.ts';
import type { Member } from '../nodes/member.ts';
import type { Verdict } from './conditions.ts';
import type { Membership } from './members.ts';
import type { Check, VerdictInput } from './verdicts.ts';
import { nameNodes, nodes } from '../words.ts';

export const progress: readonly Check[] = [
  /* nothing has moved for progressDeadline, and nobody asked for that */ isStalled,
  /* nothing moves and something waits: say for what */ rolloutStandsStill,
  restartIsAwaited,
  workIsLeft,
];

/** Reasons to stand still that somebody has asked for: no deadline runs. */
const WANTED: readonly string[] = [
  'Paused',
  'WaitingForApproval',
  'OutsideWindow',
  'Soaking',
  'FailureBudgetExhausted',
];

function isStalled({
  members,
  rollout,
  spec,
  progressedAtMs,
  nowMs,
}: VerdictInput): Verdict | undefined {
  if (isWanted(rollout.blocked)) return undefined;
  const unfinished = [...members.pool, ...members.leaving].filter(isUnfinished);
  if (unfinished.length === 0) return undefined;
  if (nowMs - progressedAtMs < durationMs(spec.rollout.progressDeadline)) return undefined;
  const names = nameNodes(unfinished);
  const why = rollout.blocked === undefined ? '' : ` ${rollout.blocked.message}.`;
  return {
    status: 'False',
    reason: 'Stalled',
    message: `No progress since ${new Date(progressedAtMs).toISOString()} on ${names}.${why}${stuckPods(members)}`,
  };
}

function isWanted(blocked: Blocked | undefined): boolean {
  return blocked !== undefined && WANTED.includes(blocked.reason);
}

/** Also a repair that is due and finds no slot. */
function isUnfinished({ state, retry }: Member): boolean {
  return (
    state === 'waiting' || state === 'inProgress' || state === 'removing' || retry !== undefined
  );
}

/**
 * When the rollout last moved: a node was claimed or came to an end, another revision became the target, or what
 * somebody had asked to wait for is over.
 */
export function lastProgressMs(
  { pool, leaving }: Membership,
  { target, blocked }: { readonly target: string; readonly blocked: Blocked | undefined },
  previous: KataDeploymentStatus,
  nowMs: number,
): number {
  const before = timeMs(previous.lastProgressTime);
  const waited = previous.conditions?.some(
    ({ type, reason }) => type === 'Progressing' && WANTED.includes(reason),
  );
  const goesOn = waited === true && !isWanted(blocked);
  if (before === undefined || previous.targetRevision !== target || goesOn) return nowMs;
  return [...pool, ...leaving]
    .flatMap(({ kataNode, status }) => [timeMs(kataNode?.spec.claimedAt), timeMs(status?.since)])
    .reduce<number>((latest, time) => Math.max(latest, time ?? 0), before);
}

function rolloutStandsStill({ rollout, counts }: VerdictInput): Verdict | undefined {
  if (rollout.blocked === undefined || counts.inProgress > 0) return undefined;
  const { reason, message } = rollout.blocked;
  // A soak is a part of the work.
  return { status: reason === 'Soaking' ? 'True' : 'False', reason, message };
}

function restartIsAwaited({ members, counts }: VerdictInput): Verdict | undefined {
  const awaiting = members.pool.filter(({ state }) => state === 'awaitingRestart');
  if (awaiting.length === 0 || awaiting.length < counts.inProgress) return undefined;
  const names = nameNodes(awaiting);
  return {
    status: 'False',
    reason: 'AwaitingRestart',
    message: `The engine must be restarted by hand on ${names}; then annotate the KataNode with kata-operator.dev/retry.`,
  };
}

function workIsLeft({ counts, rollout, target, members }: VerdictInput): Verdict | undefined {
  const { inProgress, waiting, removing, ready, desired } = counts;
  if (inProgress + waiting + removing === 0) return undefined;
  const parts = [
    `${ready} of ${nodes(desired)} Ready`,
    ...(inProgress > 0 ? [`${inProgress} in progress`] : []),
    ...(waiting > 0 ? [`${waiting} waiting`] : []),
    ...(removing > 0 ? [`${removing} being released`] : []),
  ];
  const why = rollout.blocked === undefined ? '' : ` (${rollout.blocked.message})`;
  return {
    status: 'True',
    reason: 'RolloutInProgress',
    message: `Revision ${target}: ${parts.join(', ')}${why}.${stuckPods(members)}`,
  };
}

/** A Pod that cannot start (no image, no mount) says so long before the node times out. */
function stuckPods({ pool, leaving }: Membership): string {
  const stuck = [...pool, ...leaving].find(
    ({ state, pod }) =>
      (state === 'inProgress' || state === 'removing') && pod?.waiting !== undefined,
  );
  return stuck === undefined
    ? ''
    : ` The Pod on ${stuck.node.name} cannot start: ${stuck.pod?.waiting ?? ''}`;
}
