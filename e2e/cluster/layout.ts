/**
 * Names and addresses of a cluster's parts. Everything follows from the cluster's name, the index of its
 * network and the ordinals of its nodes.
 *
 * Owns these conventions; pure. Two clusters on one machine must never share an address.
 */

/** Service addresses live inside each node's own iptables, so every cluster can have the same. */
export const SERVICE_CIDR = '10.96.0.0/16';
export const API_SERVICE_ADDRESS = '10.96.0.1';
export const API_SERVER_PORT = 6443;

/** Clusters that one machine can hold. */
export const NETWORK_COUNT = 64;

const NODE_NET = '10.210';
const FIRST_POD_OCTET = 128;
const CONTROL_PLANE_HOST = 10;
const FIRST_NODE_HOST = 20;

/** How many nodes the address plan holds. */
export const NODE_COUNT_MAX = 200;

/** A DNS label, short enough that container and cgroup names stay readable. */
const NAME = /^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$/;

/** @throws Error when a cluster or node name cannot be used in host names and paths */
export function checkName(kind: 'cluster' | 'node', name: string): void {
  if (!NAME.test(name)) {
    throw new Error(
      `${kind} name "${name}": use lower-case letters, digits and dashes, at most 30`,
    );
  }
}

export const networkName = (cluster: string): string => `kata-operator-${cluster}`;
export const containerName = (cluster: string, part: string): string =>
  `kata-operator-${cluster}-${part}`;
export const controlPlaneName = (cluster: string): string =>
  containerName(cluster, 'control-plane');

/** Absolute, below every cgroup hierarchy of the machine. */
export const cgroupRoot = (cluster: string, node: string): string => `/k-${cluster}-${node}`;

export const networkCidr = (index: number): string => `${NODE_NET}.${index}.0/24`;

/** This machine on that network: Docker takes the first address for the bridge. */
export const networkGateway = (index: number): string => `${NODE_NET}.${index}.1`;

/** The index of a network from its CIDR, or undefined when it is none of ours. */
export function networkIndex(cidr: string): number | undefined {
  const match = /^10\.210\.(\d{1,2})\.0\/24$/.exec(cidr);
  return match === null ? undefined : Number(match[1]);
}

export const controlPlaneAddress = (index: number): string =>
  `${NODE_NET}.${index}.${CONTROL_PLANE_HOST}`;
export const nodeAddress = (index: number, ordinal: number): string =>
  `${NODE_NET}.${index}.${FIRST_NODE_HOST + ordinal}`;
export const podCidr = (index: number, ordinal: number): string =>
  `10.${FIRST_POD_OCTET + index}.${ordinal}.0/24`;
export const podRange = (index: number): string => `10.${FIRST_POD_OCTET + index}.0.0/16`;
export const apiServerUrl = (index: number): string =>
  `https://${controlPlaneAddress(index)}:${API_SERVER_PORT}`;
