/**
 * What is intended for each node of the pool: given the target revision, kept, tried again, let be.
 */
import type { KataNodeSpec } from '../../crds/kataNode.ts';
import type { Observed } from '../deployment/observed.ts';
import type { EventDraft } from '../../kube/events.ts';
import * as events from '../events.ts';
import type { Write } from '../writes.ts';
import { FAILED } from './report.ts';
import { outlivedPod, renewed } from './attempts.ts';
import type { Member } from './member.ts';
import { nodeWrites, type Intention } from './writes.ts';

/** `claim` says that the rollout lets this node have the target revision, or another attempt, now. */
export function installOnNode(
  o: Observed,
  member: Member,
  target: string,
  claim: boolean,
  nowMs: number,
): Write[] {
  const { state } = member;
  if (state === 'conflict') return [];
  const isClaimed = claim && state === 'waiting';
  const intention = isClaimed
    ? claimFor(o, member, target, nowMs)
    : keepOrRetry(member, claim, nowMs);
  if (intention === undefined) return [];
  return [...nodeWrites(o.deployment, member, intention, nowMs), ...transitionEvents(member)];
}

function claimFor(o: Observed, member: Member, target: string, nowMs: number): Intention {
  const { node, kataNode, status } = member;
  const spec: KataNodeSpec = {
    ...kataNode?.spec,
    deployment: o.deployment.name,
    nodeUID: node.uid,
    revision: target,
  };
  return { spec: renewed(spec, member, nowMs), claimed: target, status, advertise: true };
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
