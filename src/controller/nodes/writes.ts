/**
 * From what is intended for one node to the writes that are still missing. At most four per install:
 * KataNode, claim, labels, status. Progress in between is only written when it lasts.
 */
import { isDeepStrictEqual } from 'node:util';
import { API_VERSION, LABEL, MANAGED_BY } from '../../crds/names.ts';
import type { KataNodeSpec, KataNodeStatus } from '../../crds/kataNode.ts';
import type { Write } from '../writes.ts';
import { timeMs, type KataDeploymentView } from '../cache/views.ts';
import { ENDED } from './report.ts';
import { nodeLabels, ownLabels, sameLabels, withoutForeign } from './labels.ts';
import type { Member } from './member.ts';

export interface Intention {
  readonly spec: KataNodeSpec;
  /** Revision that the node's claim names; undefined when the node is let go. */
  readonly claimed: string | undefined;
  readonly status: KataNodeStatus | undefined;
  readonly advertise: boolean;
  /** The Pod to delete, so that a new attempt begins. */
  readonly restartPod?: Member['pod'] | undefined;
}

/** An intermediate phase is shown when it has lasted this long: a fast install costs no extra write. */
const PROGRESS_WRITE_MS = 15_000;

export function nodeWrites(
  deployment: KataDeploymentView,
  member: Member,
  intention: Intention,
  nowMs: number,
): Write[] {
  const { node, kataNode } = member;
  const { spec, status, restartPod } = intention;
  const writes: Write[] = [];
  if (!isDeepStrictEqual(kataNode?.spec, spec)) writes.push(specWrite(deployment, member, spec));
  // Status before labels: a node that is advertised can always be explained.
  if (status !== undefined && isWorthWriting(kataNode?.status, status, spec, nowMs))
    writes.push(statusWrite(member, status));
  const labels = withoutForeign(labelsNow(deployment, member, intention), node.labels);
  if (!sameLabels(labels, ownLabels(node.labels))) writes.push(labelWrite(member, labels));
  if (restartPod !== undefined)
    writes.push({ verb: 'delete', kind: 'Pod', name: restartPod.name, uid: restartPod.uid });
  return writes;
}

/**
 * What an attempt has found becomes a label when it has ended; until then only the claim changes, and what must
 * no longer be promised is withdrawn.
 */
function labelsNow(
  deployment: KataDeploymentView,
  { node }: Member,
  { status, claimed, advertise }: Intention,
): Record<string, string> {
  if (status !== undefined && ENDED.includes(status.phase)) {
    return nodeLabels({ deployment: deployment.name, claimed, status, advertise });
  }
  const claim = nodeLabels({
    deployment: deployment.name,
    claimed,
    status: undefined,
    advertise: false,
  });
  const kept = Object.entries(ownLabels(node.labels)).filter(
    ([key]) => key !== LABEL.claim && (advertise || key === LABEL.kvm),
  );
  return { ...Object.fromEntries(kept), ...claim };
}

/**
 * All labels of ours go, and the KataNode with them. It has no owner reference: a foreground deletion of the
 * KataDeployment (the default of Argo CD) would take it, and with it all knowledge of what must be cleaned.
 */
export function releaseWrites(member: Member): Write[] {
  const writes: Write[] = [];
  if (Object.keys(ownLabels(member.node.labels)).length > 0) writes.push(labelWrite(member, {}));
  if (member.kataNode !== undefined && !member.kataNode.deleting) {
    writes.push({
      verb: 'delete',
      kind: 'KataNode',
      name: member.kataNode.name,
      uid: member.kataNode.uid,
    });
  }
  return writes;
}

function labelWrite({ node }: Member, labels: Record<string, string>): Write {
  return {
    verb: 'apply',
    manager: 'labels',
    object: {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: node.name, uid: node.uid, labels },
    },
    seen: node.resourceVersion,
  };
}

function specWrite(
  deployment: KataDeploymentView,
  { node, kataNode }: Member,
  spec: KataNodeSpec,
): Write {
  const labels = { [LABEL.managedBy]: MANAGED_BY, [LABEL.deployment]: deployment.name };
  return {
    verb: 'apply',
    manager: 'spec',
    object: {
      apiVersion: API_VERSION,
      kind: 'KataNode',
      metadata: { name: node.name, labels },
      spec,
    },
    seen: kataNode?.resourceVersion ?? '',
  };
}

function statusWrite({ node, kataNode }: Member, status: KataNodeStatus): Write {
  return {
    verb: 'apply',
    manager: 'status',
    subresource: 'status',
    object: { apiVersion: API_VERSION, kind: 'KataNode', metadata: { name: node.name }, status },
    seen: kataNode?.resourceVersion ?? '',
  };
}

function isWorthWriting(
  previous: KataNodeStatus | undefined,
  next: KataNodeStatus,
  spec: KataNodeSpec,
  nowMs: number,
): boolean {
  if (isDeepStrictEqual(previous, next)) return false;
  if (ENDED.includes(next.phase)) return true;
  return nowMs - (timeMs(spec.claimedAt) ?? nowMs) >= PROGRESS_WRITE_MS;
}
