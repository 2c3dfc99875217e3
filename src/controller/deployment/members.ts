/**
 * Joins what was observed into members: the pool that is selected, those that leave, and KataNodes
 * whose node is gone.
 */
import { durationMs } from '../../crds/primitives.ts';
import type { KataDeploymentSpec } from '../../crds/kataDeployment.ts';
import { assess } from '../nodes/assess.ts';
import { memberOf, type Member } from '../nodes/member.ts';
import { isSelected } from '../nodes/selection.ts';
import type { KataNodeView, NodeView } from '../cache/views.ts';
import type { Observed } from './observed.ts';

export interface Membership {
  /** Selected by the specification. */
  readonly pool: readonly Member[];
  /** No longer selected, but touched by us. */
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
  const ours = [...o.kataNodes.values()].filter(
    (kataNode) => kataNode.spec.deployment === o.deployment.name,
  );
  const nodesByName = new Map(o.nodes.map((node) => [node.name, node]));
  const orphans = ours.filter(
    (kataNode) => nodesByName.get(kataNode.name)?.uid !== kataNode.spec.nodeUID,
  );
  const orphaned = new Set(orphans.map((kataNode) => kataNode.name));
  const member = (node: NodeView): Member =>
    joined(
      o,
      spec,
      node,
      orphaned.has(node.name) ? undefined : o.kataNodes.get(node.name),
      target,
      nowMs,
    );
  const pool = o.deployment.deleting
    ? []
    : o.nodes.filter((node) => isSelected(node, spec.nodes)).map(member);
  const selected = new Set(pool.map(({ node }) => node.name));
  const leaving = ours
    .filter((kataNode) => !orphaned.has(kataNode.name) && !selected.has(kataNode.name))
    .map((kataNode) => nodesByName.get(kataNode.name))
    .filter((node) => node !== undefined)
    .map(member);
  return { pool, leaving, orphans: orphans.filter((kataNode) => !kataNode.deleting) };
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
  const ours = kataNode?.spec.deployment === o.deployment.name;
  const status = ours
    ? assess({
        node,
        kataNode,
        pod,
        nodeTimeoutMs: durationMs(spec.rollout.nodeTimeout),
        namespace: o.settings.namespace,
        nowMs,
      })
    : undefined;
  return memberOf({ node, kataNode, pod, status, deployment: o.deployment.name, target });
}
