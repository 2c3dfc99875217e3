/**
 * Which nodes a KataDeployment selects. Label selectors as Kubernetes defines them.
 */
import type { KataDeploymentSpec } from '../../crds/kataDeployment.ts';
import type { LabelSelector } from '../../crds/primitives.ts';
import type { NodeView } from '../cache/views.ts';

export function isSelected(node: NodeView, nodes: KataDeploymentSpec['nodes']): boolean {
  if (nodes.excludeControlPlane && node.controlPlane) return false;
  return nodes.selector === undefined || matches(node.labels, nodes.selector);
}

/** An empty selector matches everything. An unknown operator matches nothing: the API server lets none through. */
export function matches(
  labels: Readonly<Record<string, string>>,
  selector: LabelSelector,
): boolean {
  const wanted = Object.entries(selector.matchLabels ?? {});
  if (!wanted.every(([key, value]) => labels[key] === value)) return false;
  return (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = labels[key];
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value);
      case 'NotIn':
        return value === undefined || !values.includes(value);
      case 'Exists':
        return value !== undefined;
      case 'DoesNotExist':
        return value === undefined;
    }
  });
}
