/**
 * Whether Pods of ours can run on a node at all: its operating system, its kubelet, and its taints as the scheduler and
 * the DaemonSet controller judge them. A node that they would leave without a Pod must not be claimed: it
 * would only run into the timeout and spend the failure budget.
 */
import type { Toleration } from '../../crds/primitives.ts';
import type { KataDeploymentSpec } from '../../crds/kataDeployment.ts';
import { ANNOTATION } from '../../crds/names.ts';
import type { NodeView, Taint } from '../cache/views.ts';

/** Work in progress must not be evicted by the trouble it may cause. */
const NODE_POD_TOLERATIONS: readonly Toleration[] = [
  'not-ready',
  'unreachable',
  'unschedulable',
  'disk-pressure',
  'memory-pressure',
  'pid-pressure',
].map((name) => ({ key: `node.kubernetes.io/${name}`, operator: 'Exists' }));

/** What Pods of ours tolerate: trouble of their own making, what the user names, and the taint that waits for them. */
export function podTolerations({
  tolerations,
  startupTaint,
}: Pick<KataDeploymentSpec['nodes'], 'tolerations' | 'startupTaint'>): readonly Toleration[] {
  const startup: Toleration[] =
    startupTaint === undefined ? [] : [{ ...startupTaint, operator: 'Exists' }];
  return [...NODE_POD_TOLERATIONS, ...tolerations, ...startup];
}

/** Why no Pod of ours can run on the node, or shall, with what to do; undefined when one can. */
export function hindranceOf(
  node: NodeView,
  tolerations: readonly Toleration[],
  mountsImage = false,
): string | undefined {
  if (node.skip) return `${node.name} (annotated with ${ANNOTATION.skip})`;
  if (node.os !== 'linux') return `${node.name} runs ${node.os}`;
  if (mountsImage && !knowsImageVolumes(node))
    return `${node.name} has kubelet ${node.kubeletVersion}, which knows no image volumes`;
  const taint = node.taints.find(
    (candidate) =>
      candidate.effect !== 'PreferNoSchedule' &&
      !tolerations.some((toleration) => tolerates(toleration, candidate)),
  );
  if (taint === undefined) return undefined;
  const value = taint.value === '' ? '' : `=${taint.value}`;
  return `${node.name} has the taint ${taint.key}${value}:${taint.effect}`;
}

/**
 * Before 1.31 kubelet has no such volume, and a Pod with one never starts. From then on it may be switched off: then the
 * volume is empty, which the node itself reports.
 */
function knowsImageVolumes({ kubeletVersion }: NodeView): boolean {
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(kubeletVersion) ?? [];
  return major === undefined || Number(major) > 1 || Number(minor) >= 31;
}

/** As Kubernetes defines it: no key with Exists tolerates everything, no effect every effect. */
function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect !== undefined && toleration.effect !== taint.effect) return false;
  if (toleration.key !== undefined && toleration.key !== taint.key) return false;
  if (toleration.operator === 'Exists') return true;
  return toleration.key !== undefined && (toleration.value ?? '') === taint.value;
}
