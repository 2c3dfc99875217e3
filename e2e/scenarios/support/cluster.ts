/**
 * The cluster that scenarios run on: one for all of them, started by the first that asks.
 *
 * Owns the choice of cluster. It must never use a cluster that was not named on purpose: KUBECONFIG
 * counts only with E2E_CLUSTER=external.
 */
import { createHash } from 'node:crypto';
import { Cluster, type NodeSpec } from '../../cluster/cluster.ts';
import { IMAGES } from '../../cluster/images.ts';
import { CACHE } from '../../cluster/paths.ts';

/** The nodes of a cluster that the harness starts. */
export const SCENARIO_NODES: readonly NodeSpec[] = [
  { name: 'node-a', containerd: '2.4', kvm: true },
  { name: 'node-b', containerd: '1.7', kvm: true },
];

export const EXTERNAL = 'external';

let shared: Promise<Cluster> | undefined;

/** Two checkouts on one machine must not meet in one cluster: each has its own, by the place of its cache. */
const DEFAULT_NAME = `e2e-${createHash('sha256').update(CACHE).digest('hex').slice(0, 6)}`;

/**
 * The cluster named by E2E_CLUSTER, by default this checkout's own; brought up if needed, it stays when the tests end.
 * With E2E_CLUSTER=external it is the one of KUBECONFIG.
 */
export function sharedCluster(): Promise<Cluster> {
  shared ??= openCluster(process.env['E2E_CLUSTER'] ?? DEFAULT_NAME);
  return shared;
}

async function openCluster(name: string): Promise<Cluster> {
  if (name !== EXTERNAL) return Cluster.up({ name, nodes: SCENARIO_NODES });
  const kubeconfig = process.env['KUBECONFIG'];
  if (kubeconfig === undefined || kubeconfig === '') {
    throw new Error('E2E_CLUSTER=external needs KUBECONFIG');
  }
  return Cluster.external(kubeconfig);
}

/** An image with a shell that the nodes have, or can pull. */
export function busyboxImage(cluster: Cluster): string {
  return cluster.name === EXTERNAL ? 'docker.io/library/busybox:1.37' : IMAGES.busybox;
}
