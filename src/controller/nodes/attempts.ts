/**
 * When a node is tried again. A new attempt is the same claim with a later time; the Pod of the attempt before
 * goes, and its DaemonSet makes the next. Whether there is room for it now is the rollout's decision.
 * The reasons are a list of pure checks, the first that holds decides.
 */
import { ANNOTATION, REMOVE } from '../../crds/names.ts';
import type { KataNodeSpec } from '../../crds/kataNode.ts';
import type { NodePodView } from '../cache/nodePod.ts';
import { timeMs } from '../cache/views.ts';
import { isRenewed, isRetryable } from './assess.ts';
import { ENDED } from './report.ts';
import type { Member } from './member.ts';

export interface Retry {
  readonly reason: 'Asked' | 'MayPass' | 'HandlerVanished' | 'FilesChanged' | 'Return';
  /** Value of the annotation, when a person asked. */
  readonly handled?: string;
}

/** Automatic attempts after the first, for errors that may pass by themselves. */
const MAX_AUTOMATIC_ATTEMPTS = 3;
const FIRST_BACKOFF_MS = 30_000;
/** Files must have been others for this long: kubelet probes every 30 s. */
const CHANGED_MS = 45_000;
/** Kubelet reports handlers every 10 s by default, but some fleets let it report once in some minutes. */
const VANISHED_MS = 5 * 60_000;
/** A repair that does not hold is tried ever more rarely. */
const MAX_REPAIR_PAUSE_MS = 60 * 60_000;
/** Repairs in a row after which a person is told. */
export const LASTING_REPAIRS = 3;

/** Who waits is given a new attempt anyway, who is worked on has one, and who is skipped or another's gets none. */
const ATTEMPTED: readonly Member['state'][] = [
  'current',
  'failed',
  'unsupported',
  'awaitingRestart',
  'returned',
  'removing',
];

/** A member whose retry is not decided yet. */
type Settled = Omit<Member, 'retry'>;
type Check = (member: Settled, nowMs: number) => Retry | undefined;

const checks: readonly Check[] = [
  /* a person annotated the KataNode */ askedByAnnotation,
  /* the network may be back, the disk may have room */ retryableAfterBackoff,
  /* it will not get well by itself: back to what worked */ returnToPrevious,
  /* the engine lost our handlers: somebody overwrote its configuration */ handlerVanished,
  /* the readiness probe saw other files than those that were verified */ filesChanged,
];

export function retryOf(member: Settled, nowMs: number): Retry | undefined {
  for (const check of checks) {
    const retry = check(member, nowMs);
    if (retry !== undefined) return retry;
  }
  return undefined;
}

/** What starts a new attempt. Always later than the recorded end of the last one, whatever the clocks. */
export function renewed(
  spec: KataNodeSpec,
  { status, kataNode, retry }: Member,
  nowMs: number,
): KataNodeSpec {
  const handled = retry?.handled ?? kataNode?.annotations[ANNOTATION.retry];
  const endedAtMs = timeMs(status?.since) ?? 0;
  return {
    ...spec,
    claimedAt: new Date(Math.max(nowMs, endedAtMs + 1)).toISOString(),
    ...(handled === undefined ? {} : { retryHandled: handled }),
  };
}

/** The Pod of an attempt that has ended, once a new one is wanted: seen from the state alone, so that nothing can lose it. */
export function outlivedPod(spec: KataNodeSpec, { status, pod }: Settled): NodePodView | undefined {
  if (status === undefined || !ENDED.includes(status.phase) || status.revision !== spec.revision)
    return undefined;
  return pod?.uid === status.attempt && isRenewed(spec, status) ? pod : undefined;
}

function askedByAnnotation({ kataNode, state }: Settled): Retry | undefined {
  const asked = kataNode?.annotations[ANNOTATION.retry];
  if (asked === undefined || asked === kataNode?.spec.retryHandled) return undefined;
  return ATTEMPTED.includes(state) ? { reason: 'Asked', handled: asked } : undefined;
}

function retryableAfterBackoff(
  { status, pod, state, kataNode }: Settled,
  nowMs: number,
): Retry | undefined {
  if (status?.error === undefined || !isRetryable(status.error)) return undefined;
  if (state !== 'failed' && state !== 'removing') return undefined;
  if (kataNode !== undefined && isRenewed(kataNode.spec, status)) return undefined;
  // It works, only slowly: its result counts whenever it comes.
  if (status.error.code === 'KATA_E_NODE_TIMEOUT' && pod !== undefined && pod.waiting === undefined)
    return undefined;
  const attempts = status.attempts ?? 1;
  if (attempts >= MAX_AUTOMATIC_ATTEMPTS) return undefined;
  const sinceMs = timeMs(status.since) ?? nowMs;
  return nowMs - sinceMs >= FIRST_BACKOFF_MS * 2 ** (attempts - 1)
    ? { reason: 'MayPass' }
    : undefined;
}

/** Only when no further attempt by itself is due: each of them might still succeed. */
function returnToPrevious({ status, state, fallback }: Settled): Retry | undefined {
  if (state !== 'failed' || status === undefined || fallback === undefined) return undefined;
  const isGivenUp = !isRetryable(status.error) || (status.attempts ?? 1) >= MAX_AUTOMATIC_ATTEMPTS;
  return isGivenUp ? { reason: 'Return' } : undefined;
}

/** Ready, at the target revision or, after it failed there, at the one before. */
export function isVerified({ state, status, kataNode }: Settled): boolean {
  return (
    state === 'current' ||
    (state === 'returned' &&
      status?.phase === 'Ready' &&
      status.revision === kataNode?.spec.revision)
  );
}

function handlerVanished(member: Settled, nowMs: number): Retry | undefined {
  const { node, status } = member;
  if (!isVerified(member) || node.runtimeHandlers === undefined) return undefined;
  if (!hasHeld(member, VANISHED_MS, nowMs)) return undefined;
  const served = new Set(node.runtimeHandlers);
  // An engine that reports nothing at all says nothing about ours.
  if (served.size === 0) return undefined;
  return (status?.handlers ?? []).every((handler) => served.has(handler))
    ? undefined
    : { reason: 'HandlerVanished' };
}

function filesChanged(member: Settled, nowMs: number): Retry | undefined {
  const { pod, status, kataNode } = member;
  if (
    !isVerified(member) ||
    kataNode?.spec.revision === REMOVE ||
    pod?.unreadySinceMs === undefined
  )
    return undefined;
  if (pod.uid !== status?.attempt || !hasHeld(member, CHANGED_MS, nowMs)) return undefined;
  return nowMs - pod.unreadySinceMs > CHANGED_MS ? { reason: 'FilesChanged' } : undefined;
}

/** Whether the last attempt lies back far enough for a repair: longer, the more repairs there were in a row. */
function hasHeld({ status }: Settled, firstMs: number, nowMs: number): boolean {
  const pauseMs = Math.min(firstMs * 2 ** ((status?.attempts ?? 1) - 1), MAX_REPAIR_PAUSE_MS);
  return nowMs - (timeMs(status?.since) ?? nowMs) > pauseMs;
}
