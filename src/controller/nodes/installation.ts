/**
 * What is intended for each node of the pool: given the target revision, kept, tried again, let be.
 */
import type { KataNodeSpec } from '../../crds/kataNode.ts';
import type { Observed } from '../deployment/observed.ts';
import * as events from '../events.ts';
import type { Write } from '../writes.ts';
import { FAILED } from './assess.ts';
import { retryOf } from './attempts.ts';
import type { Member } from './member.ts';
import { nodeWrites, type Intention } from './writes.ts';

/** `claim` says that the rollout lets this node have the target revision now. */
export function installOnNode(
  o: Observed,
  member: Member,
  target: string,
  claim: boolean,
  nowMs: number,
): Write[] {
  if (member.state === 'conflict' || member.state === 'removing') return [];
  const intention = claim ? claimFor(o, member, target, nowMs) : keepOrRetry(member, nowMs);
  if (intention === undefined) return [];
  return [...nodeWrites(o.deployment, member, intention, nowMs), ...transitionEvents(o, member)];
}

function claimFor(
  o: Observed,
  { node, kataNode, status }: Member,
  target: string,
  nowMs: number,
): Intention {
  const spec: KataNodeSpec = {
    ...kataNode?.spec,
    deployment: o.deployment.name,
    nodeUID: node.uid,
    revision: target,
    claimedAt: new Date(nowMs).toISOString(),
  };
  return { spec, claimed: target, status, advertise: true };
}

function keepOrRetry(member: Member, nowMs: number): Intention | undefined {
  const { kataNode, status, state, pod } = member;
  if (kataNode === undefined) return undefined;
  const retry = retryOf(member, nowMs);
  const spec: KataNodeSpec =
    retry === undefined
      ? kataNode.spec
      : {
          ...kataNode.spec,
          claimedAt: new Date(nowMs).toISOString(),
          ...(retry.handled === undefined ? {} : { retryHandled: retry.handled }),
        };
  // A node that cannot run Kata needs no Pod: without the claim the DaemonSet takes it away.
  const letGo = status?.phase === 'Unsupported' && state !== 'inProgress' && retry === undefined;
  return {
    spec,
    claimed: letGo ? undefined : kataNode.spec.revision,
    status,
    advertise: true,
    ...(retry === undefined ? {} : { restartPod: pod }),
  };
}

function transitionEvents(o: Observed, { node, kataNode, status }: Member): Write[] {
  const before = kataNode?.status;
  if (
    status === undefined ||
    (before?.phase === status.phase &&
      before.revision === status.revision &&
      before.attempt === status.attempt)
  )
    return [];
  const write = (event: events.EventDraft): Write[] => [{ verb: 'event', event }];
  if (status.phase === 'Ready')
    return write(events.nodeReady(o.deployment, node.name, status.handlers ?? []));
  if (status.error === undefined) return [];
  const { step, reason, message, remedy } = status.error;
  if (status.phase === 'Unsupported')
    return write(events.nodeUnsupported(o.deployment, node.name, reason, message));
  if (FAILED.includes(status.phase) || status.phase === 'AwaitingRestart') {
    return write(
      events.nodeFailed(o.deployment, node.name, step, reason, `${message} Next: ${remedy}`),
    );
  }
  return [];
}
