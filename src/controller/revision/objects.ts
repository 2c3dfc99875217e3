/**
 * The ConfigMap and the DaemonSet of one revision. What they make of a node is immutable: a revision is never
 * edited, a node moves to another one by its claim label, and a Pod that comes back does what it did.
 *
 * Three init containers because a container without a token can report only by ending. They always end
 * with exit code 0 and say how it went in their termination message: a failing code would make kubelet
 * repeat the transaction for ever.
 */
import { createHash } from 'node:crypto';
import {
  ANNOTATION_REVISION_IMAGE,
  ANNOTATION_TEMPLATE,
  LABEL,
  MANAGED_BY,
  REMOVE,
  claimValue,
} from '../../crds/names.ts';
import { PLAN_FILE } from '../../crds/nodePlan.ts';
import type { Stage } from '../../crds/nodeResult.ts';
import type { KataDeploymentSpec } from '../../crds/kataDeployment.ts';
import type { Toleration } from '../../crds/primitives.ts';
import { NODE_POD_TOLERATIONS } from '../nodes/tolerations.ts';
import type { Manifest } from '../writes.ts';
import type { Revision } from './plan.ts';

/** How node Pods are run: from the controller's command line. */
export interface NodePodSettings {
  readonly namespace: string;
  readonly image: string;
  readonly imagePullPolicy: string;
  readonly serviceAccount: string;
  readonly priorityClass: string | undefined;
  readonly imagePullSecrets: readonly string[];
}

interface Owner {
  readonly name: string;
  readonly uid: string;
}

const HOST = '/host';
/** Who the resident container runs as: nobody on the host. */
const NONROOT_UID = 65532;

export function revisionObjectName(deployment: string, revision: string): string {
  return `kata-${deployment}-${revision}`;
}

export function revisionObjects(
  owner: Owner,
  spec: KataDeploymentSpec,
  revision: Revision,
  settings: NodePodSettings,
): Manifest[] {
  return [configMap(owner, revision, settings), daemonSet(owner, spec, revision, settings)];
}

function metadata(
  owner: Owner,
  revision: Revision,
  settings: NodePodSettings,
): Manifest['metadata'] & { readonly annotations: Readonly<Record<string, string>> } {
  return {
    name: revisionObjectName(owner.name, revision.name),
    namespace: settings.namespace,
    labels: objectLabels(owner, revision),
    annotations: { [ANNOTATION_REVISION_IMAGE]: settings.image },
  };
}

function objectLabels(owner: Owner, revision: Revision): Record<string, string> {
  return {
    [LABEL.managedBy]: MANAGED_BY,
    [LABEL.component]: 'node',
    [LABEL.deployment]: owner.name,
    [LABEL.claim]: claimValue(owner.name, revision.name),
  };
}

function configMap(owner: Owner, revision: Revision, settings: NodePodSettings): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadata(owner, revision, settings),
    immutable: true,
    data: { [PLAN_FILE]: `${JSON.stringify(revision.plan, null, 2)}\n` },
  };
}

function daemonSet(
  owner: Owner,
  spec: KataDeploymentSpec,
  revision: Revision,
  settings: NodePodSettings,
): Manifest {
  const claim = claimValue(owner.name, revision.name);
  const template = {
    metadata: { labels: objectLabels(owner, revision) },
    spec: podSpec(spec, revision, settings, claim),
  };
  const { annotations, ...common } = metadata(owner, revision, settings);
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: {
      ...common,
      annotations: { ...annotations, [ANNOTATION_TEMPLATE]: templateDigest(template) },
    },
    spec: {
      selector: { matchLabels: { [LABEL.claim]: claim } },
      updateStrategy: { type: 'OnDelete' },
      template,
    },
  };
}

/** How Pods are run may change without what they do: with OnDelete only the next Pods are others. */
function templateDigest(template: object): string {
  return createHash('sha256').update(JSON.stringify(template)).digest('hex').slice(0, 16);
}

function podSpec(
  spec: KataDeploymentSpec,
  revision: Revision,
  settings: NodePodSettings,
  claim: string,
): Record<string, unknown> {
  const removing = revision.name === REMOVE;
  const stages: Stage[] = removing ? ['remove'] : ['preflight', 'stage', 'activate'];
  const artifactsPath =
    revision.plan.artifacts.kind === 'hostPath' ? revision.plan.artifacts.path : undefined;
  return {
    automountServiceAccountToken: false,
    serviceAccountName: settings.serviceAccount,
    enableServiceLinks: false,
    ...(settings.priorityClass === undefined ? {} : { priorityClassName: settings.priorityClass }),
    ...(settings.imagePullSecrets.length === 0
      ? {}
      : { imagePullSecrets: settings.imagePullSecrets.map((name) => ({ name })) }),
    nodeSelector: { [LABEL.claim]: claim },
    tolerations: tolerations(spec.nodes.tolerations, removing),
    terminationGracePeriodSeconds: 30,
    // As the first process of a namespace of its own, the resident would not hear a SIGTERM that comes before it
    // listens, as it does when a removal is over in no time: the Pod would linger for the whole grace period.
    shareProcessNamespace: true,
    initContainers: stages.map((stage) =>
      stageContainer(stage, settings, removing ? undefined : artifactsPath),
    ),
    containers: [residentContainer(settings)],
    volumes: [
      {
        name: 'plan',
        configMap: { name: revisionObjectName(revision.plan.deployment, revision.name) },
      },
      { name: 'handoff', emptyDir: { sizeLimit: '16Mi' } },
      { name: 'host', hostPath: { path: '/', type: 'Directory' } },
      { name: 'host-opt', hostPath: { path: '/opt', type: 'DirectoryOrCreate' } },
      { name: 'host-etc', hostPath: { path: '/etc', type: 'Directory' } },
      ...(artifactsPath === undefined || removing
        ? []
        : [{ name: 'host-artifacts', hostPath: { path: artifactsPath } }]),
    ],
  };
}

/** Cleaning tolerates everything: what a node has must go whatever it is tainted with. */
function tolerations(wanted: readonly Toleration[], removing: boolean): readonly Toleration[] {
  return removing ? [{ operator: 'Exists' }] : [...NODE_POD_TOLERATIONS, ...wanted];
}

function stageContainer(
  stage: Stage,
  settings: NodePodSettings,
  artifactsPath: string | undefined,
): Record<string, unknown> {
  return {
    name: stage,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    command: ['/kata/bin/node', '/kata/kata-node.mjs', stage],
    args: [
      ...['--plan', `/plan/${PLAN_FILE}`],
      ...['--root', HOST],
      ...['--attempt', '$(POD_UID)'],
      ...['--handoff', '/handoff'],
      ...['--result', '/dev/termination-log'],
    ],
    env: [{ name: 'POD_UID', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } }],
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    resources: { requests: { cpu: '25m', memory: '64Mi' } },
    securityContext: STAGE_SECURITY[stage],
    volumeMounts: [
      { name: 'plan', mountPath: '/plan', readOnly: true },
      { name: 'handoff', mountPath: '/handoff' },
      ...STAGE_MOUNTS[stage],
      ...(stage === 'stage' && artifactsPath !== undefined
        ? [{ name: 'host-artifacts', mountPath: `${HOST}${artifactsPath}`, readOnly: true }]
        : []),
    ],
  };
}

const PRIVILEGED = {
  privileged: true,
  runAsUser: 0,
  readOnlyRootFilesystem: true,
  // Needed to run the engine's own binary from the host and to speak to its socket where SELinux enforces.
  seLinuxOptions: { type: 'spc_t' },
} as const;

/**
 * Preflight is privileged although it writes nothing: the device cgroup closes /dev/kvm to every other
 * container, and only the ioctl tells whether KVM works. Its mount of the host is read-only at the root;
 * what is mounted below is not.
 */
const STAGE_SECURITY: Readonly<Record<Stage, Record<string, unknown>>> = {
  preflight: PRIVILEGED,
  stage: {
    privileged: false,
    runAsUser: 0,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'], add: ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID'] },
    seccompProfile: { type: 'RuntimeDefault' },
    seLinuxOptions: { type: 'spc_t' },
  },
  activate: PRIVILEGED,
  remove: PRIVILEGED,
};

const STAGE_MOUNTS: Readonly<Record<Stage, readonly Record<string, unknown>[]>> = {
  preflight: [
    { name: 'host', mountPath: HOST, readOnly: true, mountPropagation: 'HostToContainer' },
  ],
  stage: [{ name: 'host-opt', mountPath: `${HOST}/opt` }],
  activate: [{ name: 'host', mountPath: HOST, mountPropagation: 'HostToContainer' }],
  remove: [{ name: 'host', mountPath: HOST, mountPropagation: 'HostToContainer' }],
};

/** Holds the Pod so that its readiness tells whether the files are still what they were. No rights, under 1 MiB. */
function residentContainer(settings: NodePodSettings): Record<string, unknown> {
  return {
    name: 'resident',
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    command: ['/kata/bin/kata-helper', 'pause'],
    readinessProbe: {
      exec: { command: ['/kata/bin/kata-helper', 'probe', '/handoff/fingerprint', HOST] },
      periodSeconds: 30,
      timeoutSeconds: 5,
    },
    resources: { requests: { cpu: '1m', memory: '1Mi' }, limits: { memory: '16Mi' } },
    securityContext: {
      runAsNonRoot: true,
      runAsUser: NONROOT_UID,
      runAsGroup: NONROOT_UID,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumeMounts: [
      { name: 'handoff', mountPath: '/handoff', readOnly: true },
      { name: 'host-opt', mountPath: `${HOST}/opt`, readOnly: true },
      { name: 'host-etc', mountPath: `${HOST}/etc`, readOnly: true },
    ],
  };
}
