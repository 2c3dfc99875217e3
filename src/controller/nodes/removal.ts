/**
 * Taking Kata off one node, one step per decision, each seen in the cluster before the next:
 * handler labels off → no sandbox left → the remove DaemonSet takes over → its result → labels and KataNode go.
 */
import { REMOVE } from '../../crds/names.ts';
import type { Write } from '../writes.ts';
import * as events from '../events.ts';
import type { Observed } from '../deployment/observed.ts';
import { isServed } from '../revision/served.ts';
import { outlivedPod, renewed } from './attempts.ts';
import { isAdvertised } from './labels.ts';
import type { Member } from './member.ts';
import { nodeWrites, releaseWrites } from './writes.ts';

export interface Removal {
  readonly writes: readonly Write[];
  /** Pods that hold the node back. */
  readonly blockedBy: readonly string[];
}

/** True when nothing is in the way of cleaning the node but its turn. */
export function isRemovable(o: Observed, member: Member): boolean {
  const { node, kataNode } = member;
  return (
    !isUntouched(member) &&
    kataNode?.deleting !== true &&
    !mustWithdraw(member) &&
    // Not looked up yet: unknown is not the same as none.
    o.usage.byNode.get(node.name)?.length === 0 &&
    isServed(o, REMOVE, node.name)
  );
}

/** `turn` says that the rollout lets this node be cleaned, or tried again, now. */
export function removeFromNode(
  o: Observed,
  member: Member,
  turn: { readonly mine: boolean; readonly paused: boolean },
  nowMs: number,
): Removal {
  const { kataNode, node } = member;
  const none = { writes: [], blockedBy: [] };
  if (kataNode?.deleting === true || isUntouched(member))
    return { writes: releaseWrites(member), blockedBy: [] };
  if (kataNode?.spec.revision === REMOVE)
    return { writes: removing(o, member, turn.mine, nowMs), blockedBy: [] };
  if (turn.paused) return none;
  if (mustWithdraw(member)) return { writes: withdraw(o, member, nowMs), blockedBy: [] };
  const blockedBy = o.usage.byNode.get(node.name) ?? [];
  if (blockedBy.length > 0) return { writes: draining(o, member, nowMs), blockedBy };
  return turn.mine ? { writes: startRemoval(o, member, nowMs), blockedBy: [] } : none;
}

/** First no new sandbox may come. Without a KataNode the labels go with the claim of the removal. */
function mustWithdraw({ node, kataNode }: Member): boolean {
  return kataNode !== undefined && isAdvertised(node.labels);
}

/** The node cannot run Kata, and nothing of ours had ever come there when it said so. */
function isUntouched({ status }: Member): boolean {
  return status?.phase === 'Unsupported' && status.installed === false;
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

/** Also where the KataNode was deleted by hand: the claim on the node tells that something of ours is there. */
function startRemoval(o: Observed, member: Member, nowMs: number): Write[] {
  const { node, kataNode } = member;
  const spec = {
    ...kataNode?.spec,
    deployment: o.deployment.name,
    nodeUID: node.uid,
    revision: REMOVE,
  };
  return nodeWrites(
    o.deployment,
    member,
    {
      spec: renewed(spec, member, nowMs),
      claimed: REMOVE,
      status: undefined,
      advertise: false,
    },
    nowMs,
  );
}

function removing(o: Observed, member: Member, again: boolean, nowMs: number): Write[] {
  const { kataNode, status, pod } = member;
  if (kataNode === undefined) return [];
  const result = pod?.stages.remove;
  if (result?.kind === 'ended' && result.result.outcome === 'done') {
    return [
      ...releaseWrites(member),
      { verb: 'event', event: events.nodeReleased(o.deployment, member.node.name) },
    ];
  }
  const spec = again ? renewed(kataNode.spec, member, nowMs) : kataNode.spec;
  const writes = nodeWrites(
    o.deployment,
    member,
    {
      spec,
      claimed: REMOVE,
      status,
      advertise: false,
      restartPod: outlivedPod(spec, member),
    },
    nowMs,
  );
  if (status?.error !== undefined && kataNode.status?.error?.message !== status.error.message) {
    const { step, reason, message } = status.error;
    writes.push({
      verb: 'event',
      event: events.nodeFailed(kataNode, step, reason, message),
    });
  }
  return writes;
}
