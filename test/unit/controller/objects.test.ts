import { describe, expect, it } from 'vitest';
import { kataDeploymentSpec } from '../../../src/crds/kataDeployment.ts';
import { nodePlan } from '../../../src/crds/nodePlan.ts';
import { revisionObjects, type NodePodSettings } from '../../../src/controller/revision/objects.ts';
import { installRevision, removeRevision } from '../../../src/controller/revision/plan.ts';
import type { Manifest } from '../../../src/controller/writes.ts';

const SETTINGS: NodePodSettings = {
  namespace: 'kata-nodes',
  image: 'node:1',
  imagePullPolicy: 'IfNotPresent',
  serviceAccount: 'kata-node',
  priorityClass: 'system-node-critical',
  imagePullSecrets: ['registry'],
};
const OWNER = { name: 'kata', uid: 'u1' };

interface Container {
  readonly name: string;
  readonly securityContext: Record<string, unknown>;
  readonly volumeMounts: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly readOnly?: boolean;
  }[];
}
interface PodSpec {
  readonly automountServiceAccountToken: boolean;
  readonly shareProcessNamespace: boolean;
  readonly hostPID?: boolean;
  readonly hostNetwork?: boolean;
  readonly nodeSelector: Record<string, string>;
  readonly initContainers: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly {
    readonly name: string;
    readonly hostPath?: { readonly path: string };
  }[];
}

function rendered(
  raw: unknown,
  remove = false,
): { configMap: Manifest; daemonSet: Manifest; pod: PodSpec } {
  const spec = kataDeploymentSpec.parse(raw);
  const revision = remove
    ? removeRevision('kata', spec)
    : installRevision('kata', spec, SETTINGS.image);
  const [configMap, daemonSet] = revisionObjects(OWNER, spec, revision, SETTINGS);
  if (configMap === undefined || daemonSet === undefined)
    throw new Error('two objects make a revision');
  const { template } = daemonSet['spec'] as { template: { spec: PodSpec } };
  return { configMap, daemonSet, pod: template.spec };
}

describe('the objects of a revision', () => {
  it('let the resident hear a SIGTERM that comes before it listens: it is no first process', () => {
    for (const removing of [false, true])
      expect(rendered({}, removing).pod.shareProcessNamespace).toBe(true);
  });

  it('give node Pods no credentials and nothing of the host they do not need', () => {
    const { pod } = rendered({});
    expect(pod.automountServiceAccountToken).toBe(false);
    expect(pod.hostPID).toBeUndefined();
    expect(pod.hostNetwork).toBeUndefined();
  });

  it('privilege only the stages that need it, and never the container that stays', () => {
    const { pod } = rendered({});
    const privileged = pod.initContainers.filter(
      ({ securityContext }) => securityContext['privileged'] === true,
    );
    expect(privileged.map(({ name }) => name)).toEqual(['preflight', 'activate']);
    const [resident] = pod.containers;
    expect(resident?.securityContext).toMatchObject({
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    expect(resident?.volumeMounts.every(({ readOnly }) => readOnly === true)).toBe(true);
  });

  it('let preflight see the host and write nothing', () => {
    const { pod } = rendered({});
    const host = pod.initContainers[0]?.volumeMounts.find(({ name }) => name === 'host');
    expect(host).toMatchObject({ mountPath: '/host', readOnly: true });
  });

  it('mount no directory of the host that would be left behind', () => {
    const { pod } = rendered({});
    const paths = pod.volumes.flatMap(({ hostPath }) =>
      hostPath === undefined ? [] : [hostPath.path],
    );
    expect(paths.sort()).toEqual(['/', '/etc', '/opt']);
  });

  it('mount artifacts of the host read-only, for the stage that unpacks them', () => {
    const { pod } = rendered({ artifacts: { hostPath: { path: '/srv/kata' } } });
    const mounts = pod.initContainers.map(({ volumeMounts }) =>
      volumeMounts.find(({ name }) => name === 'host-artifacts'),
    );
    expect(mounts.map((mount) => mount?.mountPath)).toEqual([
      undefined,
      '/host/srv/kata',
      undefined,
    ]);
    expect(mounts[1]?.readOnly).toBe(true);
  });

  it('hold a plan that the node program reads', () => {
    const { configMap } = rendered({ runtimes: [{ name: 'fc' }], defaultRuntime: 'fc' });
    const data = configMap['data'] as Record<string, string>;
    const plan = nodePlan.parse(JSON.parse(data['plan.json'] ?? ''));
    expect(plan).toMatchObject({ deployment: 'kata', defaultRuntime: 'kata-fc' });
    expect(configMap['immutable']).toBe(true);
  });

  it('clean with one stage and without asking for artifacts', () => {
    const { pod } = rendered({ artifacts: { hostPath: { path: '/srv/kata' } } }, true);
    expect(pod.initContainers.map(({ name }) => name)).toEqual(['remove']);
    expect(pod.volumes.map(({ name }) => name)).not.toContain('host-artifacts');
  });
});

describe('a revision', () => {
  const revisionOf = (raw: unknown, image = 'node:1'): string =>
    installRevision('kata', kataDeploymentSpec.parse(raw), image).name;

  it('is the same for the same specification', () => {
    expect(revisionOf({})).toBe(revisionOf({ nodes: { excludeControlPlane: false } }));
  });

  it.each([
    ['the runtimes', { runtimes: [{ name: 'fc' }] }],
    ['the artifacts', { artifacts: { hostPath: { path: '/srv/kata' } } }],
    ['the version', { version: '4.1.0' }],
    ['the engine', { engine: { restart: 'Never' } }],
    ['requireKVM', { nodes: { requireKVM: false } }],
  ])('changes with %s', (_what, raw) => {
    expect(revisionOf(raw)).not.toBe(revisionOf({}));
  });

  it('changes with the node image, which carries the program and the artifacts', () => {
    expect(revisionOf({}, 'node:2')).not.toBe(revisionOf({}));
  });
});
