/**
 * When a node is tried again. A new attempt is a new Pod: deleting the old one is all it takes.
 * The reasons are a list of pure checks, the first that holds decides.
 */
import { ANNOTATION, REMOVE } from '../../crds/names.ts';
import { isRetryable } from './assess.ts';
import type { Member } from './member.ts';
import { timeMs } from '../cache/views.ts';

export interface Retry {
  readonly reason: 'Asked' | 'MayPass' | 'HandlerVanished' | 'FilesChanged';
  /** Value of the annotation, when a person asked. */
  readonly handled?: string;
}

/** Automatic attempts after the first, for errors that may pass by themselves. */
export const MAX_AUTOMATIC_ATTEMPTS = 3;
const FIRST_BACKOFF_MS = 30_000;
/** A drift must last this long: kubelet reports handlers every 10 s, and probes every 30 s. */
const DRIFT_MS = 45_000;

type Check = (member: Member, nowMs: number) => Retry | undefined;

const checks: readonly Check[] = [
  /* a person annotated the KataNode */ askedByAnnotation,
  /* the network may be back, the disk may have room */ retryableAfterBackoff,
  /* the engine lost our handlers: somebody overwrote its configuration */ handlerVanished,
  /* the readiness probe saw other files than those that were verified */ filesChanged,
];

export function retryOf(member: Member, nowMs: number): Retry | undefined {
  for (const check of checks) {
    const retry = check(member, nowMs);
    if (retry !== undefined) return retry;
  }
  return undefined;
}

function askedByAnnotation({ kataNode }: Member): Retry | undefined {
  const asked = kataNode?.annotations[ANNOTATION.retry];
  return asked === undefined || asked === kataNode?.spec.retryHandled
    ? undefined
    : { reason: 'Asked', handled: asked };
}

function retryableAfterBackoff({ status, pod }: Member, nowMs: number): Retry | undefined {
  if (status?.error === undefined || !isRetryable(status.error)) return undefined;
  // The next attempt is under way already.
  if (pod?.uid !== status.attempt) return undefined;
  const attempts = status.attempts ?? 1;
  if (attempts >= MAX_AUTOMATIC_ATTEMPTS) return undefined;
  const sinceMs = timeMs(status.since) ?? nowMs;
  return nowMs - sinceMs >= FIRST_BACKOFF_MS * 2 ** (attempts - 1)
    ? { reason: 'MayPass' }
    : undefined;
}

function handlerVanished({ node, status, state }: Member, nowMs: number): Retry | undefined {
  if (
    state !== 'current' ||
    node.runtimeHandlers === undefined ||
    !settledFor(status?.since, nowMs)
  )
    return undefined;
  const served = new Set(node.runtimeHandlers);
  // An engine that reports nothing at all says nothing about ours.
  if (served.size === 0) return undefined;
  return (status?.handlers ?? []).every((handler) => served.has(handler))
    ? undefined
    : { reason: 'HandlerVanished' };
}

function filesChanged({ pod, state, status, kataNode }: Member, nowMs: number): Retry | undefined {
  if (
    state !== 'current' ||
    kataNode?.spec.revision === REMOVE ||
    pod?.unreadySinceMs === undefined
  )
    return undefined;
  if (pod.uid !== status?.attempt || !settledFor(status.since, nowMs)) return undefined;
  return nowMs - pod.unreadySinceMs > DRIFT_MS ? { reason: 'FilesChanged' } : undefined;
}

function settledFor(since: string | undefined, nowMs: number): boolean {
  return nowMs - (timeMs(since) ?? nowMs) > DRIFT_MS;
}
