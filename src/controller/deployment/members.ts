/**
 * Joins what was observed into members: the pool that is selected, those that leave, and KataNodes
 * whose node is gone.
 */
import { durationMs } from '../../crds/primitives.ts';
import type { KataDeploymentSpec } from '../../crds/kataDeployment.ts';
import { LABEL, parseClaim, REMOVE } from '../../crds/names.ts';
import { assess } from '../nodes/assess.ts';
import { memberOf, type Member } from '../nodes/member.ts';
import { isSelected } from '../nodes/selection.ts';
import { hindranceOf, podTolerations } from '../nodes/tolerations.ts';
import { revisionExists } from '../revision/served.ts';
import type { KataNodeStatus } from '../../crds/kataNode.ts';
import type { KataNodeView, NodeView } from '../cache/views.ts';
import type { Observed } from './observed.ts';

export interface Membership {
  /** Selected by the specification. */
  readonly pool: readonly Member[];
  /** Touched by us and no longer selected, or being cleaned: a removal that has begun is always finished. */
  readonly leaving: readonly Member[];
  /** Their node has vanished, or was made again under the same name. */
  readonly orphans: readonly KataNodeView[];
}

export function membership(
  o: Observed,
  spec: KataDeploymentSpec,
  target: string,
  nowMs: number,
): Membership {
  const uidByName = new Map(o.nodes.map((node) => [node.name, node.uid]));
  const orphans = [...o.kataNodes.values()].filter(
    ({ name, spec: of }) =>
      of.deployment === o.deployment.name && uidByName.get(name) !== of.nodeUID,
  );
  const orphaned = new Set(orphans.map(({ name }) => name));
  const pool: Member[] = [];
  const leaving: Member[] = [];
  for (const node of o.nodes) {
    const kataNode = orphaned.has(node.name) ? undefined : o.kataNodes.get(node.name);
    const standing = standingOf(o, spec, node, kataNode);
    if (standing === undefined) continue;
    (standing === 'pool' ? pool : leaving).push(joined(o, spec, node, kataNode, target, nowMs));
  }
  return { pool, leaving, orphans: orphans.filter((kataNode) => !kataNode.deleting) };
}

function standingOf(
  o: Observed,
  spec: KataDeploymentSpec,
  node: NodeView,
  kataNode: KataNodeView | undefined,
): 'pool' | 'leaving' | undefined {
  const { name } = o.deployment;
  const isOurs =
    kataNode === undefined ? claimantOf(node) === name : kataNode.spec.deployment === name;
  if (isOurs && kataNode?.spec.revision === REMOVE) return 'leaving';
  if (!o.deployment.deleting && isSelected(node, spec.nodes)) return 'pool';
  return isOurs ? 'leaving' : undefined;
}

function claimantOf(node: NodeView): string | undefined {
  return parseClaim(node.labels[LABEL.claim] ?? '')?.deployment;
}

/** Another KataDeployment that has the node. One that does not exist any more has none. */
function ownerOf(
  o: Observed,
  node: NodeView,
  kataNode: KataNodeView | undefined,
): string | undefined {
  return [claimantOf(node), kataNode?.spec.deployment].find(
    (name) => name !== undefined && name !== o.deployment.name && o.deployments.has(name),
  );
}

function fallbackOf(o: Observed, status: KataNodeStatus | undefined): string | undefined {
  const previous = status?.previousRevision;
  return previous !== undefined && revisionExists(o, previous) ? previous : undefined;
}

function joined(
  o: Observed,
  spec: KataDeploymentSpec,
  node: NodeView,
  kataNode: KataNodeView | undefined,
  target: string,
  nowMs: number,
): Member {
  const revision = kataNode?.spec.revision;
  const pod = (o.pods.get(node.name) ?? []).find(
    (candidate) => candidate.revision === revision && !candidate.deleting,
  );
  const status =
    kataNode?.spec.deployment === o.deployment.name
      ? assess({
          node,
          kataNode,
          pod,
          nodeTimeoutMs: durationMs(spec.rollout.nodeTimeout),
          namespace: o.settings.namespace,
          nowMs,
        })
      : undefined;
  const mountsImage = spec.artifacts.image !== undefined;
  const hindrance = hindranceOf(node, podTolerations(spec.nodes), mountsImage);
  const owner = ownerOf(o, node, kataNode);
  const fallback = spec.rollout.onFailure === 'Rollback' ? fallbackOf(o, status) : undefined;
  return memberOf({ node, kataNode, pod, status, hindrance, fallback, owner, target }, nowMs);
}
