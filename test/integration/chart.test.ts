import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { INSTALL_MANIFEST, installManifest } from '../../build/installManifest.ts';
import { parseRunOptions, parseSelfTestOptions } from '../../src/controller/options.ts';
import { binary } from './support/apiServer.ts';
import {
  CHART,
  find,
  helm,
  parseObjects,
  render,
  template,
  type KubernetesObject,
} from './support/chart.ts';

const repository = join(import.meta.dirname, '../..');
const DIGEST = `sha256:${'a'.repeat(64)}`;

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kata-operator-chart-'));
});

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

const VARIANTS: readonly [string, object][] = [
  ['the default values', {}],
  [
    'everything switched off',
    {
      crds: { install: false },
      networkPolicy: { enabled: false },
      podDisruptionBudget: { enabled: false },
      uninstallCheck: { enabled: false },
      rbac: { aggregateToView: false },
      node: { priorityClassName: '' },
      controller: { replicas: 1 },
    },
  ],
  [
    'everything set',
    {
      fullnameOverride: 'kata',
      image: { digest: DIGEST },
      nodeImage: { repository: 'localhost:5000/node', tag: '1', pullPolicy: 'Always' },
      imagePullSecrets: [{ name: 'one' }, { name: 'two' }],
      nodeNamespace: 'elsewhere',
      controller: {
        replicas: 3,
        logLevel: 'debug',
        port: 9090,
        priorityClassName: 'system-cluster-critical',
        nodeSelector: { 'kubernetes.io/os': 'linux' },
        tolerations: [{ operator: 'Exists' }],
        affinity: { nodeAffinity: {} },
        podLabels: { team: 'platform' },
        podAnnotations: { note: 'x' },
      },
      node: { criticalPodsQuota: true },
      serviceAccount: { annotations: { note: 'x' } },
      networkPolicy: { apiServerPorts: [443], metricsFrom: [{ namespaceSelector: {} }] },
    },
  ],
];

const withContainer = z.object({
  spec: z.object({
    template: z.object({
      spec: z.object({
        containers: z.tuple([z.object({ args: z.array(z.string()), image: z.string() })]),
      }),
    }),
  }),
});

function containerOf(deployment: KubernetesObject | undefined): { args: string[]; image: string } {
  return withContainer.parse(deployment).spec.template.spec.containers[0];
}

describe('the chart', () => {
  test.each(VARIANTS)('passes helm lint --strict with %s', async (_, values) => {
    const file = join(directory, 'values.json');
    await writeFile(file, JSON.stringify(values));
    const { code, stdout } = await helm(['lint', '--strict', CHART, '--values', file]);
    expect(code, stdout).toBe(0);
  });

  test('renders the same objects as manifests/install.yaml, which "npm run generate" writes', async () => {
    const committed = await readFile(join(repository, INSTALL_MANIFEST), 'utf8');
    expect(await installManifest(binary('helm'), CHART)).toBe(committed);
  });

  test('leaves no trace of Helm in manifests/install.yaml, and brings its namespaces', async () => {
    const text = await readFile(join(repository, INSTALL_MANIFEST), 'utf8');
    expect(text).not.toMatch(/helm/i);
    const namespaces = parseObjects(text).filter(({ kind }) => kind === 'Namespace');
    expect(namespaces.map(({ metadata }) => metadata.labels)).toMatchObject([
      { 'pod-security.kubernetes.io/enforce': 'restricted' },
      { 'pod-security.kubernetes.io/enforce': 'privileged' },
    ]);
  });

  test('runs two controllers without privileges, one of which a drain leaves', async () => {
    const objects = await render();
    expect(find(objects, 'Deployment', 'kata-operator')).toMatchObject({
      spec: {
        replicas: 2,
        template: {
          spec: {
            securityContext: {
              runAsNonRoot: true,
              runAsUser: 65532,
              seccompProfile: { type: 'RuntimeDefault' },
            },
            containers: [
              {
                securityContext: {
                  allowPrivilegeEscalation: false,
                  readOnlyRootFilesystem: true,
                  capabilities: { drop: ['ALL'] },
                },
                livenessProbe: { httpGet: { path: '/livez', port: 'http' } },
                readinessProbe: { httpGet: { path: '/readyz', port: 'http' } },
              },
            ],
          },
        },
      },
    });
    expect(find(objects, 'PodDisruptionBudget', 'kata-operator')).toMatchObject({
      spec: { minAvailable: 1 },
    });
  });

  test('tells the controller what it has to know', async () => {
    const { args, image } = containerOf(find(await render(), 'Deployment', 'kata-operator'));
    expect(image).toBe('ghcr.io/kata-operator/controller:0.1.0');
    expect(args).toEqual([
      'run',
      ...['--node-namespace', 'kata-operator-nodes'],
      ...['--release-namespace', '$(POD_NAMESPACE)'],
      ...['--node-image', 'ghcr.io/kata-operator/node:0.1.0'],
      ...['--node-image-pull-policy', 'IfNotPresent'],
      ...['--node-service-account', 'kata-operator-node'],
      ...['--node-priority-class', 'system-node-critical'],
      ...['--http-port', '8080'],
      ...['--leader-election-id', 'kata-operator'],
      ...['--log-level', 'info'],
    ]);
  });

  test.each(VARIANTS)('speaks the command line of the controller with %s', async (_, values) => {
    const deployment = (await render(values)).find(({ kind }) => kind === 'Deployment');
    const [command, ...args] = containerOf(deployment).args;
    expect(command).toBe('run');
    expect(parseRunOptions(args)).toMatchObject({ kubeconfig: undefined });
  });

  test.each(VARIANTS)('asks itself in a way that it understands with %s', async (_, values) => {
    const pod = (await render(values)).find(({ kind }) => kind === 'Pod');
    const { spec } = z
      .object({
        spec: z.object({ containers: z.tuple([z.object({ args: z.array(z.string()) })]) }),
      })
      .parse(pod);
    const [command, ...args] = spec.containers[0].args;
    expect(command).toBe('self-test');
    // kubelet puts in the address of the Service; one of IPv6 has colons.
    const filled = args.map((arg) => arg.replace(/^\$\([A-Z_]+_SERVICE_HOST\)$/, 'fd00::1'));
    expect(parseSelfTestOptions(filled).url).toMatch(/^http:\/\/\[fd00::1\]:\d+\/readyz$/);
  });

  test('passes on digests, pull secrets and names of ones own', async () => {
    const [, values] = VARIANTS[2] ?? [];
    const { args, image } = containerOf(find(await render(values), 'Deployment', 'kata'));
    expect(image).toBe(`ghcr.io/kata-operator/controller@${DIGEST}`);
    const after = (flag: string): string | undefined => args[args.indexOf(flag) + 1];
    expect(after('--node-image')).toBe('localhost:5000/node:1');
    expect(after('--image-pull-secrets')).toBe('one,two');
    expect(after('--node-namespace')).toBe('elsewhere');
    expect(after('--node-service-account')).toBe('kata-node');
    expect(after('--http-port')).toBe('9090');
  });

  test('leaves out what is switched off', async () => {
    const [, values] = VARIANTS[1] ?? [];
    const objects = await render(values);
    const kinds = new Set(objects.map(({ kind }) => kind));
    for (const kind of [
      'CustomResourceDefinition',
      'NetworkPolicy',
      'PodDisruptionBudget',
      'Job',
    ]) {
      expect(kinds).not.toContain(kind);
    }
    const { args } = containerOf(find(objects, 'Deployment', 'kata-operator'));
    expect(args).not.toContain('--node-priority-class');
  });

  test('gives node Pods an account that can do nothing and has no token', async () => {
    const objects = await render();
    expect(find(objects, 'ServiceAccount', 'kata-operator-node')).toMatchObject({
      metadata: { namespace: 'kata-operator-nodes' },
      automountServiceAccountToken: false,
    });
    const bound = objects.filter(({ kind }) => kind.endsWith('RoleBinding'));
    expect(bound.length).toBeGreaterThan(3);
    expect(JSON.stringify(bound)).not.toContain('kata-operator-node"');
  });

  test('asks for no wildcard and no Secret', async () => {
    const rules = (await render())
      .filter(({ kind }) => kind === 'ClusterRole' || kind === 'Role')
      .map((role) => JSON.stringify(role['rules']));
    expect(rules.length).toBeGreaterThan(3);
    for (const rule of rules)
      expect(rule).not.toMatch(/"\*"|secrets|nodes\/proxy|escalate|impersonate/);
  });

  test('keeps traffic from node Pods, and the cloud metadata service from them', async () => {
    const policy = find(await render(), 'NetworkPolicy', 'kata-operator-nodes');
    expect(policy).toMatchObject({
      metadata: { namespace: 'kata-operator-nodes' },
      spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'] },
    });
    expect(policy).not.toHaveProperty('spec.ingress');
    expect(JSON.stringify(policy)).toContain('169.254.169.254/32');
    // Where Pods are not matched by addresses, DNS and mirrors in the cluster are reached by this.
    const spec = z.object({ egress: z.tuple([z.object({ to: z.array(z.unknown()) })]) });
    expect(spec.parse(policy['spec']).egress[0].to).toContainEqual({ namespaceSelector: {} });
  });

  test('lets the controller reach API servers at the ports that are common', async () => {
    const policy = find(await render(), 'NetworkPolicy', 'kata-operator');
    const ports = [443, 6443, 8443, 16443].map((port) => ({ port }));
    expect(policy).toMatchObject({ spec: { egress: [{ ports }, {}] } });
  });

  test.each([
    ['a misspelt key', { controler: { replicas: 1 } }, 'controler'],
    ['a misspelt key below', { controller: { replica: 1 } }, 'replica'],
    ['a number as text', { controller: { replicas: '2' } }, 'replicas'],
    ['an unknown log level', { controller: { logLevel: 'verbose' } }, 'logLevel'],
    ['a short digest', { image: { digest: 'sha256:abc' } }, 'digest'],
    ['a digest in the repository', { nodeImage: { repository: `x@${DIGEST}` } }, 'repository'],
    ['a namespace that cannot be', { nodeNamespace: 'Nodes' }, 'nodeNamespace'],
  ])('refuses %s', async (_, values, words) => {
    const { code, stderr } = await template(values);
    expect(code).not.toBe(0);
    expect(stderr).toContain(words);
  });

  test('refuses to run node Pods in the namespace of the controller', async () => {
    const { code, stderr } = await template({ nodeNamespace: 'same' }, 'same');
    expect(code).not.toBe(0);
    expect(stderr).toContain('nodeNamespace must not be the namespace of the release');
  });
});
