/**
 * A node of a cluster: a container with systemd, containerd, kubelet and kube-proxy.
 *
 * Owns what is inside a node when it starts. After that the node belongs to the cluster and to whoever
 * works on it: it must never be "repaired" by the harness.
 */
import { randomUUID } from 'node:crypto';
import { open } from 'node:fs/promises';
import { dump } from 'js-yaml';
import { CLUSTER_LABEL } from './docker.ts';
import { IMAGES } from './images.ts';
import { kubeconfigText } from './kubeconfig.ts';
import {
  apiServerUrl,
  cgroupRoot,
  checkName,
  containerName,
  nodeAddress,
  podCidr,
  podRange,
} from './layout.ts';
import type { Pki } from './pki.ts';
import { output } from './process.ts';
import { startSystemContainer } from './systemContainer.ts';

export interface NodeSpec {
  /** Unique in the cluster; also the node's host name. */
  readonly name: string;
  readonly containerd: '2.4' | '1.7';
  /** Whether the node gets the machine's /dev/kvm, where it has one. */
  readonly kvm: boolean;
}

/** A node that exists, running or stopped. */
export interface NodeRecord extends NodeSpec {
  readonly ordinal: number;
  readonly running: boolean;
}

const LABELS = {
  name: 'dev.kata-operator.node',
  containerd: 'dev.kata-operator.node.containerd',
  kvm: 'dev.kata-operator.node.kvm',
  ordinal: 'dev.kata-operator.node.ordinal',
} as const;

/** The nodes of a cluster as their containers' labels tell, in the order of their ordinals. */
export async function listNodes(cluster: string): Promise<NodeRecord[]> {
  const fields = [LABELS.name, LABELS.containerd, LABELS.kvm, LABELS.ordinal];
  const format = ['{{.State}}', ...fields.map((label) => `{{.Label "${label}"}}`)].join('\t');
  const filters = [`label=${CLUSTER_LABEL}=${cluster}`, `label=${LABELS.name}`];
  const text = await output([
    ...['docker', 'ps', '--all', '--format', format],
    ...filters.flatMap((filter) => ['--filter', filter]),
  ]);
  const nodes = text.split('\n').filter(Boolean).map(parseNode);
  return nodes.sort((a, b) => a.ordinal - b.ordinal);
}

function parseNode(line: string): NodeRecord {
  const [state = '', name = '', containerd = '', kvm = '', ordinal = ''] = line.split('\t');
  return {
    name,
    containerd: containerd === '1.7' ? '1.7' : '2.4',
    kvm: kvm === 'true',
    ordinal: Number(ordinal),
    running: state === 'running',
  };
}

/** True when this machine has a /dev/kvm to pass on. It is opened: the file may be there without the module. */
export async function machineHasKvm(): Promise<boolean> {
  try {
    await (await open('/dev/kvm', 'r+')).close();
    return true;
  } catch {
    return false;
  }
}

/** Makes and starts a node; it registers itself at the API server. */
export async function startNode(
  cluster: string,
  networkIndex: number,
  pki: Pki,
  node: NodeSpec & { readonly ordinal: number },
): Promise<void> {
  checkName('node', node.name);
  const address = nodeAddress(networkIndex, node.ordinal);
  const hasKvm = node.kvm && (await machineHasKvm());
  await pki.issue({
    file: `node-${node.name}`,
    commonName: `system:node:${node.name}`,
    organization: 'system:nodes',
    names: [`DNS:${node.name}`, `IP:${address}`],
  });
  await startSystemContainer({
    image: node.containerd === '1.7' ? IMAGES.node17 : IMAGES.node24,
    cluster,
    name: containerName(cluster, node.name),
    hostname: node.name,
    role: 'node',
    address,
    labels: {
      [LABELS.name]: node.name,
      [LABELS.containerd]: node.containerd,
      [LABELS.kvm]: String(node.kvm),
      [LABELS.ordinal]: String(node.ordinal),
    },
    devices: hasKvm ? ['/dev/kvm'] : [],
    files: await nodeFiles(cluster, networkIndex, pki, { ...node, hasKvm, address }),
    readyUnit: 'containerd',
  });
}

interface NodeFacts extends NodeSpec {
  readonly ordinal: number;
  readonly hasKvm: boolean;
  readonly address: string;
}

async function nodeFiles(
  cluster: string,
  networkIndex: number,
  pki: Pki,
  node: NodeFacts,
): Promise<Record<string, string>> {
  const server = apiServerUrl(networkIndex);
  const environment = {
    CGROUP_ROOT: cgroupRoot(cluster, node.name),
    KVM: String(node.hasKvm),
    NODE_NAME: node.name,
    NODE_IP: node.address,
  };
  const lines = Object.entries(environment).map(([name, value]) => `${name}=${value}\n`);
  const file = `node-${node.name}`;
  return {
    '/etc/kata-operator-e2e/node.env': lines.join(''),
    // A node that is made again under its old name is another machine, as after a reinstallation.
    '/etc/machine-id': `${randomUUID().replaceAll('-', '')}\n`,
    '/etc/kubernetes/pki/ca.crt': await pki.read('ca.crt'),
    '/etc/kubernetes/pki/kubelet.crt': await pki.read(`${file}.crt`),
    '/etc/kubernetes/pki/kubelet.key': await pki.read(`${file}.key`),
    '/etc/kubernetes/kubelet.conf': await kubeconfigText(pki, cluster, server, file),
    '/etc/kubernetes/kube-proxy.conf': await kubeconfigText(pki, cluster, server, 'kube-proxy'),
    '/etc/kubernetes/kubelet-config.yaml': dump(kubeletConfiguration()),
    '/etc/kubernetes/kube-proxy-config.yaml': dump(proxyConfiguration(networkIndex, node.name)),
    '/etc/cni/net.d/10-bridge.conflist': cniConfiguration(podCidr(networkIndex, node.ordinal)),
  };
}

function kubeletConfiguration(): unknown {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: '/etc/kubernetes/pki/ca.crt' },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: '/etc/kubernetes/pki/kubelet.crt',
    tlsPrivateKeyFile: '/etc/kubernetes/pki/kubelet.key',
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    cgroupDriver: 'cgroupfs',
    failCgroupV1: false,
    failSwapOn: false,
    // Lowering it needs CAP_SYS_RESOURCE.
    oomScoreAdj: 0,
    // Images are loaded by hand: one that is collected could not be pulled again.
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    // The machine's disk and memory are not the node's own.
    evictionHard: {
      'memory.available': '50Mi',
      'nodefs.available': '1%',
      'nodefs.inodesFree': '1%',
      'imagefs.available': '1%',
    },
  };
}

function proxyConfiguration(networkIndex: number, nodeName: string): unknown {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'iptables',
    hostnameOverride: nodeName,
    clusterCIDR: podRange(networkIndex),
    clientConnection: { kubeconfig: '/etc/kubernetes/kube-proxy.conf' },
    // Without the br_netfilter module, replies between Pods of one node find their way only through it.
    iptables: { masqueradeAll: true },
    // Those limits belong to the machine.
    conntrack: { maxPerCore: 0, min: 0 },
    oomScoreAdj: 0,
  };
}

function cniConfiguration(subnet: string): string {
  const bridge = {
    type: 'bridge',
    bridge: 'cni0',
    isGateway: true,
    ipMasq: true,
    hairpinMode: true,
    ipam: { type: 'host-local', ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }] },
  };
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  const list = { cniVersion: '1.0.0', name: 'pods', plugins: [bridge, portmap] };
  return `${JSON.stringify(list, null, 2)}\n`;
}
