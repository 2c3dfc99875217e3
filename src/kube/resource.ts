/**
 * Kinds of objects and where the API server keeps them. No discovery: what is used is known.
 * Owns the URL form and the shape of metadata; knows nothing of what the objects mean.
 */

export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  creationTimestamp?: string;
  deletionTimestamp?: string;
}

/** An object as it is on the wire: plain JSON, dates as strings. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
  [key: string]: unknown;
}

/** Which object of a resource. */
export interface ObjectRef {
  readonly namespace?: string | undefined;
  readonly name: string;
}

export function apiVersionOf(resource: Resource): string {
  return resource.group === '' ? resource.version : `${resource.group}/${resource.version}`;
}

/**
 * Path of a collection (no name) or of an object. A namespaced resource without a namespace is the
 * collection over all namespaces.
 */
export function resourcePath(
  resource: Resource,
  of: {
    namespace?: string | undefined;
    name?: string | undefined;
    subresource?: string | undefined;
  } = {},
): string {
  if (resource.namespaced && of.namespace === undefined && of.name !== undefined) {
    throw new TypeError(`${resource.kind} ${of.name}: a namespace is needed`);
  }
  const root = resource.group === '' ? ['api'] : ['apis', resource.group];
  const parts = [...root, resource.version];
  if (resource.namespaced && of.namespace !== undefined) parts.push('namespaces', of.namespace);
  parts.push(resource.plural);
  if (of.name !== undefined) parts.push(of.name);
  if (of.name !== undefined && of.subresource !== undefined) parts.push(of.subresource);
  return `/${parts.map(encodeURIComponent).join('/')}`;
}

/** `namespace/name`, or `name` for a cluster-scoped object: the key of caches and queues. */
export function objectKey(metadata: ObjectRef): string {
  return metadata.namespace === undefined || metadata.namespace === ''
    ? metadata.name
    : `${metadata.namespace}/${metadata.name}`;
}

const core = (kind: string, plural: string, namespaced: boolean): Resource => ({
  group: '',
  version: 'v1',
  kind,
  plural,
  namespaced,
});

export const NODES = core('Node', 'nodes', false);
export const PODS = core('Pod', 'pods', true);
export const CONFIG_MAPS = core('ConfigMap', 'configmaps', true);

export const DAEMON_SETS: Resource = {
  group: 'apps',
  version: 'v1',
  kind: 'DaemonSet',
  plural: 'daemonsets',
  namespaced: true,
};
export const RUNTIME_CLASSES: Resource = {
  group: 'node.k8s.io',
  version: 'v1',
  kind: 'RuntimeClass',
  plural: 'runtimeclasses',
  namespaced: false,
};
export const LEASES: Resource = {
  group: 'coordination.k8s.io',
  version: 'v1',
  kind: 'Lease',
  plural: 'leases',
  namespaced: true,
};
export const EVENTS: Resource = {
  group: 'events.k8s.io',
  version: 'v1',
  kind: 'Event',
  plural: 'events',
  namespaced: true,
};
