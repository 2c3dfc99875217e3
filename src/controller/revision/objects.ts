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
import { podTolerations } from '../nodes/tolerations.ts';
import type { Manifest } from '../writes.ts';
import { HOST, residentContainer, stageContainer } from './containers.ts';
import type { Revision } from './plan.ts';
import { NO_SOURCE_MOUNTS, sourceMounts } from './sourceMounts.ts';

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
  const source = removing ? NO_SOURCE_MOUNTS : sourceMounts(spec.artifacts, HOST);
  const imagePullSecrets = [...settings.imagePullSecrets, ...source.imagePullSecrets];
  return {
    automountServiceAccountToken: false,
    serviceAccountName: settings.serviceAccount,
    enableServiceLinks: false,
    ...(settings.priorityClass === undefined ? {} : { priorityClassName: settings.priorityClass }),
    ...(imagePullSecrets.length === 0
      ? {}
      : { imagePullSecrets: imagePullSecrets.map((name) => ({ name })) }),
    nodeSelector: { [LABEL.claim]: claim },
    // Cleaning tolerates everything: what a node has must go whatever it is tainted with.
    tolerations: removing ? [{ operator: 'Exists' }] : podTolerations(spec.nodes),
    terminationGracePeriodSeconds: 30,
    // As the first process of a namespace of its own, the resident would not hear a SIGTERM that comes before it
    // listens, as it does when a removal is over in no time: the Pod would linger for the whole grace period.
    shareProcessNamespace: true,
    initContainers: stages.map((stage) => stageContainer(stage, settings, source)),
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
      ...source.volumes,
    ],
  };
}
