/** What of a specification's artifacts gets into the Pods of a revision, and what must not. */
import { describe, expect, it } from 'vitest';
import { nodeView } from '../../../src/controller/cache/views.ts';
import { hindranceOf } from '../../../src/controller/nodes/tolerations.ts';
import { revisionObjects, type NodePodSettings } from '../../../src/controller/revision/objects.ts';
import { installRevision, removeRevision } from '../../../src/controller/revision/plan.ts';
import { parseKataDeploymentSpec } from '../../../src/crds/parse.ts';

const SETTINGS: NodePodSettings = {
  namespace: 'kata-nodes',
  image: 'node:1',
  imagePullPolicy: 'IfNotPresent',
  serviceAccount: 'kata-node',
  priorityClass: undefined,
  imagePullSecrets: ['registry'],
};
const SOURCES = [{ url: 'https://example.org/a.tar.zst', sha256: 'a'.repeat(64) }];
const REFERENCE = `registry.example.org/kata@sha256:${'a'.repeat(64)}`;

interface Container {
  readonly name: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string }[];
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}
interface PodSpec {
  readonly imagePullSecrets: readonly { readonly name: string }[];
  readonly initContainers: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly ({ readonly name: string } & Record<string, unknown>)[];
}

function rendered(artifacts: object, remove = false) {
  const spec = parseKataDeploymentSpec({ artifacts });
  const revision = remove ? removeRevision('kata', spec) : installRevision('kata', spec, 'node:1');
  const objects = revisionObjects({ name: 'kata', uid: 'u1' }, spec, revision, SETTINGS);
  const daemonSet = objects.find(({ kind }) => kind === 'DaemonSet');
  const { template } = daemonSet?.['spec'] as { template: { spec: PodSpec } };
  const plan = objects.find(({ kind }) => kind === 'ConfigMap')?.['data'];
  return { pod: template.spec, plan: JSON.stringify(plan), revision: revision.name };
}

/** By container: where a volume is mounted. */
function mountsOf({ initContainers, containers }: PodSpec, volume: string): Record<string, string> {
  return Object.fromEntries(
    [...initContainers, ...containers].flatMap(({ name, volumeMounts }) =>
      volumeMounts.filter((mount) => mount.name === volume).map((mount) => [name, mount.mountPath]),
    ),
  );
}

const REFERRED = {
  sources: SOURCES,
  credentialsSecret: { name: 'artifact-login' },
  caConfigMap: { name: 'corporate-ca' },
};

describe('credentials and certificates', () => {
  it('are mounted into the stage container alone, for its user alone, and may be missing', () => {
    const { pod } = rendered(REFERRED);
    expect(pod.volumes).toContainEqual({
      name: 'credentials',
      secret: { secretName: 'artifact-login', optional: true, defaultMode: 0o400 },
    });
    expect(pod.volumes).toContainEqual({
      name: 'certificates',
      configMap: { name: 'corporate-ca', optional: true, defaultMode: 0o400 },
    });
    expect(mountsOf(pod, 'credentials')).toEqual({ stage: '/secret/artifact-login' });
    expect(mountsOf(pod, 'certificates')).toEqual({ stage: '/config-map/corporate-ca' });
    const stage = pod.initContainers.find(({ name }) => name === 'stage');
    expect(stage?.args?.slice(-4)).toEqual([
      ...['--credentials', '/secret/artifact-login'],
      ...['--ca', '/config-map/corporate-ca/ca.crt'],
    ]);
  });

  it('are in no environment, in no plan and in no Pod that cleans', () => {
    const { pod, plan } = rendered(REFERRED);
    for (const { env = [] } of pod.initContainers)
      expect(env.map(({ name }) => name)).toEqual(['POD_UID']);
    expect(plan).not.toMatch(/artifact-login|corporate-ca/);
    expect(JSON.stringify(rendered(REFERRED, true).pod)).not.toMatch(/artifact-login|corporate-ca/);
  });

  it('make no new revision: another password moves no node', () => {
    const { revision } = rendered({ sources: SOURCES });
    expect(rendered(REFERRED).revision).toBe(revision);
    const other = { ...REFERRED, credentialsSecret: { name: 'other' }, caConfigMap: { name: 'b' } };
    expect(rendered(other).revision).toBe(revision);
  });
});

describe('an image of artifacts', () => {
  const IMAGE = { image: { reference: REFERENCE } };

  it('is mounted by kubelet into the stage container, and named in the plan', () => {
    const { pod, plan } = rendered(IMAGE);
    expect(pod.volumes).toContainEqual({
      name: 'image',
      image: { reference: REFERENCE, pullPolicy: 'IfNotPresent' },
    });
    expect(mountsOf(pod, 'image')).toEqual({ stage: '/image' });
    expect(plan).toContain(REFERENCE);
    expect(rendered(IMAGE, true).pod.volumes.map(({ name }) => name)).not.toContain('image');
  });

  it('is pulled with the credentials of the specification, too', () => {
    const { pod } = rendered({ ...IMAGE, credentialsSecret: { name: 'pull' } });
    expect(pod.imagePullSecrets).toEqual([{ name: 'registry' }, { name: 'pull' }]);
    expect(pod.volumes.map(({ name }) => name)).not.toContain('credentials');
  });

  it.each([
    ['v1.30.4+k3s1', false],
    ['v1.28.0', false],
    ['v1.31.0', true],
    ['v1.36.3', true],
    ['v2.0.0', true],
    ['', true],
  ])(
    'on a node with kubelet %s can be mounted, as far as can be known: %s',
    (kubeletVersion, can) => {
      const node = nodeView({
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name: 'worker-1', uid: 'u' },
        status: { nodeInfo: { kubeletVersion } },
      });
      expect(hindranceOf(node, [], true)).toBe(
        can ? undefined : `worker-1 has kubelet ${kubeletVersion}, which knows no image volumes`,
      );
      expect(hindranceOf(node, [], false)).toBeUndefined();
    },
  );
});
