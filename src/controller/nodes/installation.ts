/**
 * What is intended for each node of the pool: given the target revision, kept, tried again, let be.
 */
import type { KataNodeSpec } from '../../crds/kataNode.ts';
import type { Observed } from '../deployment/observed.ts';
import type { EventDraft } from '../../kube/events.ts';
import * as events from '../events.ts';
import type { Write } from '../writes.ts';
import { FAILED } from './report.ts';
import { isVerified, outlivedPod, renewed } from './attempts.ts';
import type { Member } from './member.ts';
import { nodeWrites, type Intention } from './writes.ts';

/** `claim` says that the rollout lets this node have the target revision, another attempt, or the revision before, now. */
export function installOnNode(
  o: Observed,
  member: Member,
  target: string,
  claim: boolean,
  nowMs: number,
): Write[] {
  if (member.state === 'conflict') return [];
  const intention = claim ? claimed(o, member, target, nowMs) : keepOrRetry(member, false, nowMs);
  if (intention === undefined) return [];
  const writes = nodeWrites(o.deployment, member, intention, nowMs);
  return [...writes, ...untaintWrites(o, member, writes), ...transitionEvents(member)];
}

/** Revision that a node is to be given when it is its turn; undefined when it only tries again what it has. */
export function revisionDue(member: Member, target: string): string | undefined {
  const { state, retry, fallback } = member;
  if (state === 'waiting') return target;
  if (state === 'returned' && retry?.reason === 'Asked') return target;
  return retry?.reason === 'Return' ? fallback : undefined;
}

function claimed(
  o: Observed,
  member: Member,
  target: string,
  nowMs: number,
): Intention | undefined {
  const revision = revisionDue(member, target);
  if (revision === undefined) return keepOrRetry(member, true, nowMs);
  const { node, kataNode, status } = member;
  const { returnedFrom, ...before } = kataNode?.spec ?? {};
  const spec: KataNodeSpec = {
    ...before,
    deployment: o.deployment.name,
    nodeUID: node.uid,
    revision,
    ...(revision === target ? {} : givenUp(member)),
  };
  return { spec: renewed(spec, member, nowMs), claimed: revision, status, advertise: true };
}

/** What must not be forgotten of a node that goes back: neither tried again by itself nor taken for well. */
function givenUp({ status }: Member): Pick<KataNodeSpec, 'returnedFrom'> {
  if (status?.error === undefined || status.revision === undefined) return {};
  const { revision, error } = status;
  return { returnedFrom: { revision, error, since: status.since ?? '' } };
}

function keepOrRetry(member: Member, again: boolean, nowMs: number): Intention | undefined {
  const { kataNode, status, state } = member;
  if (kataNode === undefined) return undefined;
  const spec = again ? renewed(kataNode.spec, member, nowMs) : kataNode.spec;
  // A node that cannot run Kata needs no Pod: without the claim the DaemonSet takes it away.
  const letGo = status?.phase === 'Unsupported' && state !== 'inProgress' && !again;
  return {
    spec,
    claimed: letGo ? undefined : kataNode.spec.revision,
    status,
    advertise: true,
    restartPod: outlivedPod(spec, member),
  };
}

/** The startup taint goes last, when the node says by its labels what it serves: Pods that waited find it complete. */
function untaintWrites(o: Observed, member: Member, others: readonly Write[]): Write[] {
  const startup = o.parsed.ok ? o.parsed.spec.nodes.startupTaint : undefined;
  if (startup === undefined || others.length > 0 || !isVerified(member)) return [];
  const { name, uid, resourceVersion: seen, taints } = member.node;
  const { key, effect } = startup;
  const index = taints.findIndex((taint) => taint.key === key && taint.effect === effect);
  return index < 0 ? [] : [{ verb: 'untaint', kind: 'Node', name, uid, seen, index, key, effect }];
}

function transitionEvents({ kataNode, status }: Member): Write[] {
  const before = kataNode?.status;
  if (
    kataNode === undefined ||
    status === undefined ||
    (before?.phase === status.phase &&
      before.revision === status.revision &&
      before.attempt === status.attempt)
  )
    return [];
  const write = (event: EventDraft): Write[] => [{ verb: 'event', event }];
  if (status.phase === 'Ready') return write(events.nodeReady(kataNode, status.handlers ?? []));
  if (status.error === undefined) return [];
  const { step, reason, message, remedy } = status.error;
  if (status.phase === 'Unsupported')
    return write(events.nodeUnsupported(kataNode, reason, message));
  if (FAILED.includes(status.phase) || status.phase === 'AwaitingRestart') {
    return write(events.nodeFailed(kataNode, step, reason, `${message} Next: ${remedy}`));
  }
  return [];
}
