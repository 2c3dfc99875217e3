/**
 * Taking Kata off one node, one step per decision, each seen in the cluster before the next:
 * handler labels off → no sandbox left → the remove DaemonSet takes over → its result → labels and KataNode go.
 */
import { REMOVE } from '../../crds/names.ts';
import type { Write } from '../writes.ts';
import * as events from '../events.ts';
import type { Observed } from '../deployment/observed.ts';
import { isServed } from '../revision/served.ts';
import { FAILED } from './assess.ts';
import { retryOf } from './attempts.ts';
import { isAdvertised } from './labels.ts';
import type { Member } from './member.ts';
import { nodeWrites, releaseWrites } from './writes.ts';

export interface Removal {
  readonly writes: readonly Write[];
  /** Pods that hold the node back. */
  readonly blockedBy: readonly string[];
}

export function removeFromNode(o: Observed, member: Member, nowMs: number): Removal {
  const { kataNode, status } = member;
  if (kataNode === undefined || kataNode.deleting)
    return { writes: releaseWrites(member), blockedBy: [] };
  // Nothing was ever written there.
  if (status?.phase === 'Unsupported') return { writes: releaseWrites(member), blockedBy: [] };
  if (kataNode.spec.revision === REMOVE)
    return { writes: removing(o, member, nowMs), blockedBy: [] };
  if (isAdvertised(member.node.labels))
    return { writes: withdraw(o, member, nowMs), blockedBy: [] };
  const blockedBy = o.usage.byNode.get(member.node.name);
  // Not looked up yet: unknown is not the same as none.
  if (blockedBy === undefined) return { writes: [], blockedBy: [] };
  if (blockedBy.length > 0) return { writes: draining(o, member, nowMs), blockedBy };
  if (!isServed(o, REMOVE, member.node.name)) return { writes: [], blockedBy: [] };
  return { writes: startRemoval(o, member, nowMs), blockedBy: [] };
}

function withdraw(o: Observed, member: Member, nowMs: number): Write[] {
  return keep(o, member, nowMs, member.status);
}

function draining(o: Observed, member: Member, nowMs: number): Write[] {
  const { status, kataNode } = member;
  if (status === undefined) return keep(o, member, nowMs, status);
  const recorded = kataNode?.status;
  const since = recorded?.phase === 'Draining' ? recorded.since : undefined;
  return keep(o, member, nowMs, {
    ...status,
    phase: 'Draining',
    since: since ?? new Date(nowMs).toISOString(),
  });
}

/** As it is, but no longer advertised. */
function keep(o: Observed, member: Member, nowMs: number, status: Member['status']): Write[] {
  if (member.kataNode === undefined) return [];
  return nodeWrites(
    o.deployment,
    member,
    {
      spec: member.kataNode.spec,
      claimed: member.kataNode.spec.revision,
      status,
      advertise: false,
    },
    nowMs,
  );
}

function startRemoval(o: Observed, member: Member, nowMs: number): Write[] {
  if (member.kataNode === undefined) return [];
  const spec = {
    ...member.kataNode.spec,
    revision: REMOVE,
    claimedAt: new Date(nowMs).toISOString(),
  };
  return nodeWrites(
    o.deployment,
    member,
    { spec, claimed: REMOVE, status: undefined, advertise: false },
    nowMs,
  );
}

function removing(o: Observed, member: Member, nowMs: number): Write[] {
  const { kataNode, status, pod } = member;
  if (kataNode === undefined) return [];
  const result = pod?.stages.remove;
  if (result?.kind === 'ended' && result.result.outcome === 'done') {
    return [
      ...releaseWrites(member),
      { verb: 'event', event: events.nodeReleased(o.deployment, member.node.name) },
    ];
  }
  const retry =
    status !== undefined && FAILED.includes(status.phase) ? retryOf(member, nowMs) : undefined;
  const spec =
    retry === undefined
      ? kataNode.spec
      : {
          ...kataNode.spec,
          claimedAt: new Date(nowMs).toISOString(),
          ...(retry.handled === undefined ? {} : { retryHandled: retry.handled }),
        };
  const writes = nodeWrites(
    o.deployment,
    member,
    {
      spec,
      claimed: REMOVE,
      status,
      advertise: false,
      ...(retry === undefined ? {} : { restartPod: pod }),
    },
    nowMs,
  );
  if (status?.error !== undefined && kataNode.status?.error?.message !== status.error.message) {
    const { step, reason, message } = status.error;
    writes.push({
      verb: 'event',
      event: events.nodeFailed(o.deployment, member.node.name, step, reason, message),
    });
  }
  return writes;
}
