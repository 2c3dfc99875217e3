/**
 * The control plane of a cluster: etcd, API server, controller manager and scheduler in one container.
 *
 * Owns its container and its certificates. It must never keep state outside them.
 */
import { ROLE_LABEL, type ContainerState } from './docker.ts';
import { IMAGES } from './images.ts';
import { kubeconfigText } from './kubeconfig.ts';
import {
  API_SERVER_PORT,
  API_SERVICE_ADDRESS,
  apiServerUrl,
  controlPlaneAddress,
  controlPlaneName,
  SERVICE_CIDR,
} from './layout.ts';
import type { Pki } from './pki.ts';
import { run } from './process.ts';
import { startSystemContainer } from './systemContainer.ts';

export const CONTROL_PLANE_ROLE = 'control-plane';

/** Starts the control plane where it does not run; the API server may still be starting on return. */
export async function ensureControlPlane(
  cluster: string,
  networkIndex: number,
  pki: Pki,
  containers: readonly ContainerState[],
): Promise<void> {
  const existing = containers.find(({ labels }) => labels[ROLE_LABEL] === CONTROL_PLANE_ROLE);
  if (existing?.running === true) return;
  if (existing !== undefined) {
    await run(['docker', 'start', existing.name], { timeoutMs: 60_000 });
    return;
  }
  await issueCertificates(networkIndex, pki);
  const address = controlPlaneAddress(networkIndex);
  await startSystemContainer({
    image: IMAGES.controlPlane,
    cluster,
    name: controlPlaneName(cluster),
    hostname: `${cluster}-control-plane`,
    role: CONTROL_PLANE_ROLE,
    address,
    labels: {},
    devices: [],
    files: await controlPlaneFiles(cluster, networkIndex, pki),
    readyUnit: 'kube-apiserver',
  });
}

/** The certificate of the person at the keyboard, and those of the control plane's own parts. */
async function issueCertificates(networkIndex: number, pki: Pki): Promise<void> {
  const dns = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'localhost'];
  const addresses = [API_SERVICE_ADDRESS, controlPlaneAddress(networkIndex), '127.0.0.1'];
  const names = [
    ...[...dns, 'kubernetes.default.svc.cluster.local'].map((name) => `DNS:${name}`),
    ...addresses.map((address) => `IP:${address}`),
  ];
  const identities = [
    { file: 'apiserver', commonName: 'kube-apiserver', names },
    {
      file: 'apiserver-kubelet-client',
      commonName: 'kube-apiserver-kubelet-client',
      organization: 'system:masters',
    },
    { file: 'admin', commonName: 'kubernetes-admin', organization: 'system:masters' },
    { file: 'controller-manager', commonName: 'system:kube-controller-manager' },
    { file: 'scheduler', commonName: 'system:kube-scheduler' },
    { file: 'kube-proxy', commonName: 'system:kube-proxy' },
  ];
  for (const identity of identities) await pki.issue(identity);
}

async function controlPlaneFiles(
  cluster: string,
  networkIndex: number,
  pki: Pki,
): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  const pkiFiles = ['ca.crt', 'ca.key', 'sa.pub', 'sa.key', 'apiserver.crt', 'apiserver.key'];
  pkiFiles.push('apiserver-kubelet-client.crt', 'apiserver-kubelet-client.key');
  for (const file of pkiFiles) files[`/etc/kubernetes/pki/${file}`] = await pki.read(file);
  for (const file of ['controller-manager', 'scheduler']) {
    const server = `https://127.0.0.1:${API_SERVER_PORT}`;
    const text = await kubeconfigText(pki, cluster, server, file);
    files[`/etc/kubernetes/${file}.conf`] = text;
  }
  files['/etc/kata-operator-e2e/control-plane.env'] =
    `ADVERTISE_ADDRESS=${controlPlaneAddress(networkIndex)}\nSERVICE_CIDR=${SERVICE_CIDR}\n`;
  return files;
}

/** The kubeconfig of the cluster's administrator. */
export function adminKubeconfig(cluster: string, networkIndex: number, pki: Pki): Promise<string> {
  return kubeconfigText(pki, cluster, apiServerUrl(networkIndex), 'admin');
}
