/**
 * Whether Pods of ours can run on a node at all: its operating system, and its taints as the scheduler and
 * the DaemonSet controller judge them. A node that they would leave without a Pod must not be claimed: it
 * would only run into the timeout and spend the failure budget.
 */
import type { Toleration } from '../../crds/primitives.ts';
import type { NodeView, Taint } from '../cache/views.ts';

/** Work in progress must not be evicted by the trouble it may cause. */
export const NODE_POD_TOLERATIONS: readonly Toleration[] = [
  'not-ready',
  'unreachable',
  'unschedulable',
  'disk-pressure',
  'memory-pressure',
  'pid-pressure',
].map((name) => ({ key: `node.kubernetes.io/${name}`, operator: 'Exists' }));

/** Why no Pod of ours can run on the node, with what to do; undefined when one can. */
export function hindranceOf(node: NodeView, wanted: readonly Toleration[]): string | undefined {
  if (node.os !== 'linux') return `${node.name} runs ${node.os}`;
  const tolerations = [...NODE_POD_TOLERATIONS, ...wanted];
  const taint = node.taints.find(
    (candidate) =>
      candidate.effect !== 'PreferNoSchedule' &&
      !tolerations.some((toleration) => tolerates(toleration, candidate)),
  );
  if (taint === undefined) return undefined;
  const value = taint.value === '' ? '' : `=${taint.value}`;
  return `${node.name} has the taint ${taint.key}${value}:${taint.effect}`;
}

/** As Kubernetes defines it: no key with Exists tolerates everything, no effect every effect. */
function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect !== undefined && toleration.effect !== taint.effect) return false;
  if (toleration.key !== undefined && toleration.key !== taint.key) return false;
  if (toleration.operator === 'Exists') return true;
  return toleration.key !== undefined && (toleration.value ?? '') === taint.value;
}
