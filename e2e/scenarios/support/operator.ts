/**
 * The shared cluster with the operator on it. Scenarios start and end without a KataDeployment, so that
 * each can be run alone and in any order.
 */
import { stderrLog } from '../../cluster/progress.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { CONTAINERD_CONFIG, containerdStarts, sha256OfFile } from '../../operator/host.ts';
import { loadOperatorImages } from '../../operator/images.ts';
import { haveKvm, NO_KVM } from '../../operator/kvm.ts';
import { Operator } from '../../operator/operator.ts';
import { sharedCluster } from './cluster.ts';

export const NODES = ['node-a', 'node-b'] as const;
/** A whole install on two nodes, one after the other, on a slow machine. */
export const INSTALL_TIMEOUT_MS = 240_000;

export interface Rig {
  readonly cluster: Cluster;
  readonly operator: Operator;
  /** Whether every node has KVM. */
  readonly kvm: boolean;
}

let installed: Promise<Rig> | undefined;
let requireKVM = true;

export function rig(): Promise<Rig> {
  installed ??= install();
  return installed;
}

async function install(): Promise<Rig> {
  const cluster = await sharedCluster();
  const images = await loadOperatorImages(cluster, stderrLog);
  const operator = new Operator(cluster);
  await operator.install(images);
  const kvm = await haveKvm(cluster, NODES);
  if (!kvm) stderrLog(`${NO_KVM}: scenarios that are not about KVM set nodes.requireKVM to false`);
  requireKVM = kvm;
  return { cluster, operator, kvm };
}

/** Asks for KVM where the nodes have it, and for no soak, unless the specification says what it wants. */
export function kataDeployment(
  { nodes, rollout, ...spec }: { nodes?: object; rollout?: object; [field: string]: unknown },
  name = 'kata',
): object {
  return {
    apiVersion: 'kata-operator.dev/v1alpha1',
    kind: 'KataDeployment',
    metadata: { name },
    spec: { ...spec, nodes: { requireKVM, ...nodes }, rollout: { soak: '0s', ...rollout } },
  };
}

/** What must be the same before an install and after a removal, on every node. */
export async function fingerprints(cluster: Cluster): Promise<Record<string, string>> {
  const entries = NODES.map(
    async (node) => [node, await sha256OfFile(cluster, node, CONTAINERD_CONFIG)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

export async function engineStarts(cluster: Cluster): Promise<Record<string, number>> {
  return Object.fromEntries(
    await Promise.all(
      NODES.map(async (node) => [node, await containerdStarts(cluster, node)] as const),
    ),
  );
}

/** `name/containerID/restarts` of every container of a Pod: what an engine restart must not change. */
export async function containerIdentity(
  cluster: Cluster,
  namespace: string,
  pod: string,
): Promise<string> {
  const path =
    '{range .status.containerStatuses[*]}{.name}/{.containerID}/{.restartCount}{"\\n"}{end}';
  return cluster.kubectl(['-n', namespace, 'get', 'pod', pod, '-o', `jsonpath=${path}`]);
}
