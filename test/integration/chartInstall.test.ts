import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { INSTALL_MANIFEST } from '../../build/installManifest.ts';
import { binary, startApiServer, type ApiServer } from './support/apiServer.ts';
import { CHART, NAMESPACE, helm, render } from './support/chart.ts';
import { run, succeed, type Completed } from './support/run.ts';
import { SCHEMA_LOCATION, writeSchemas } from './support/schemas.ts';

const repository = join(import.meta.dirname, '../..');
const samples = join(repository, 'manifests/samples');
const NODES = 'kata-operator-nodes';

let api: ApiServer;
let directory: string;

const kubectl = (...args: string[]): Promise<string> => succeed(api.kubectl(args));
const onCluster = (...args: string[]): Promise<string> =>
  succeed(helm([...args, `--kubeconfig=${api.kubeconfig}`, `--namespace=${NAMESPACE}`]));

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kata-operator-chart-'));
  api = await startApiServer();
  // An older release: a definition without one of its columns.
  const older = join(directory, 'older');
  await cp(CHART, older, { recursive: true });
  const definition = join(older, 'files/crds/katadeployments.yaml');
  const text = await readFile(definition, 'utf8');
  await writeFile(definition, text.replace(/ +- name: Wave\n.*\n.*\n.*\n/, ''));
  await onCluster('install', 'kata-operator', older, '--create-namespace');
  await kubectl('label', 'namespace', NAMESPACE, 'pod-security.kubernetes.io/enforce=restricted');
});

afterAll(async () => {
  await api.stop();
  await rm(directory, { recursive: true, force: true });
});

describe('an installed chart', () => {
  test('gets its definitions upgraded with it', async () => {
    const columns = (): Promise<string> =>
      kubectl(
        'get',
        'crd',
        'katadeployments.kata-operator.dev',
        '-o=jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}',
      );
    expect(await columns()).toBe('Version Desired Ready Failed Age');
    const notes = await onCluster('upgrade', 'kata-operator', CHART);
    expect(await columns()).toBe('Version Desired Ready Failed Wave Age');
    expect(notes).toContain('What to do next');
    expect(notes).toContain('kubectl wait --for=condition=Available katadeployment/kata');
  });

  test('is the same as manifests/install.yaml, which the API server takes too', async () => {
    const applied = await kubectl(
      ...['apply', '--server-side', '--force-conflicts', '--validate=strict', '--dry-run=server'],
      ...['-f', join(repository, INSTALL_MANIFEST)],
    );
    expect(applied.trimEnd().split('\n').length).toBeGreaterThan(15);
  });

  test.each([
    ['the Deployment of the controller', 'Deployment', 'kata-operator'],
    ['the check before an uninstall', 'Job', 'kata-operator-uninstall-check'],
  ])('has Pods that the level "restricted" admits, for %s', async (_, kind, name) => {
    const owner = (await render()).find((one) => one.kind === kind && one.metadata.name === name);
    const pod = { apiVersion: 'v1', kind: 'Pod', ...templateOf(owner) };
    const named = { ...pod, metadata: { name: 'probe', namespace: NAMESPACE } };
    const { code, stderr } = await api.kubectl(
      ['create', '--dry-run=server', '-f', '-'],
      JSON.stringify(named),
    );
    expect(code, stderr).toBe(0);
    expect(stderr).not.toContain('would violate');
  });

  test('has a test Pod that the level "restricted" admits', async () => {
    const pod = (await render()).find(({ kind }) => kind === 'Pod');
    expect(pod?.metadata.annotations['helm.sh/hook']).toBe('test');
    await succeed(api.kubectl(['create', '--dry-run=server', '-f', '-'], JSON.stringify(pod)));
  });

  test.each<[string, string, ...string[]]>([
    ['yes', 'patch', 'nodes'],
    ['no', 'delete', 'nodes'],
    ['no', 'update', 'nodes'],
    ['no', 'get', 'nodes', '--subresource=proxy'],
    ['yes', 'list', 'pods', '--all-namespaces'],
    ['no', 'watch', 'pods', '--all-namespaces'],
    ['no', 'delete', 'pods', '--namespace=default'],
    ['yes', 'delete', 'pods', `--namespace=${NODES}`],
    ['no', 'create', 'pods', `--namespace=${NODES}`],
    ['no', 'create', 'pods', `--namespace=${NODES}`, '--subresource=exec'],
    ['yes', 'create', 'daemonsets.apps', `--namespace=${NODES}`],
    ['no', 'create', 'daemonsets.apps', `--namespace=${NAMESPACE}`],
    ['yes', 'patch', 'configmaps', `--namespace=${NODES}`],
    ['no', 'get', 'configmaps', `--namespace=${NAMESPACE}`],
    ['no', 'get', 'secrets', `--namespace=${NODES}`],
    ['no', 'get', 'secrets', `--namespace=${NAMESPACE}`],
    ['yes', 'patch', 'katadeployments.kata-operator.dev'],
    ['no', 'update', 'katadeployments.kata-operator.dev'],
    ['no', 'update', 'katadeployments.kata-operator.dev', '--subresource=finalizers'],
    ['no', 'delete', 'katadeployments.kata-operator.dev'],
    ['no', 'create', 'katadeployments.kata-operator.dev'],
    ['yes', 'patch', 'katadeployments.kata-operator.dev', '--subresource=status'],
    ['yes', 'create', 'katanodes.kata-operator.dev'],
    ['no', 'update', 'katanodes.kata-operator.dev'],
    ['yes', 'patch', 'katanodes.kata-operator.dev', '--subresource=status'],
    ['yes', 'delete', 'runtimeclasses.node.k8s.io'],
    ['yes', 'create', 'events.events.k8s.io', '--namespace=default'],
    ['no', 'create', 'events.events.k8s.io', '--namespace=kube-system'],
    ['yes', 'create', 'leases.coordination.k8s.io', `--namespace=${NAMESPACE}`],
    ['yes', 'update', 'leases.coordination.k8s.io/kata-operator', `--namespace=${NAMESPACE}`],
    ['no', 'patch', 'leases.coordination.k8s.io/kata-operator', `--namespace=${NAMESPACE}`],
    ['no', 'update', 'leases.coordination.k8s.io/another', `--namespace=${NAMESPACE}`],
    ['no', 'update', 'leases.coordination.k8s.io/kata-operator', '--namespace=kube-system'],
    ['no', 'patch', 'customresourcedefinitions.apiextensions.k8s.io'],
  ])('answers %s when the controller wants to %s %s', async (expected, verb, ...what) => {
    const account = `system:serviceaccount:${NAMESPACE}:kata-operator`;
    const { stdout } = await api.kubectl(['auth', 'can-i', verb, ...what, `--as=${account}`]);
    expect(stdout.trim()).toBe(expected);
  });

  test('lets a node Pod do nothing at all', async () => {
    const account = `--as=system:serviceaccount:${NODES}:kata-operator-node`;
    const { stdout } = await api.kubectl(['auth', 'can-i', '--list', account]);
    const beyondSelf = stdout
      .split('\n')
      .slice(1)
      .filter((line) => line.trim() !== '' && !/^(selfsubject\S+| )/.test(line));
    expect(beyondSelf).toEqual([]);
  });
});

test('samples are taken by the API server', async () => {
  const runtimeClass = {
    apiVersion: 'node.k8s.io/v1',
    kind: 'RuntimeClass',
    metadata: { name: 'kata-fc' },
    handler: 'kata-fc',
  };
  await succeed(api.kubectl(['apply', '-f', '-'], JSON.stringify(runtimeClass)));
  // Made by the controller manager, which does not run here.
  await kubectl('create', 'serviceaccount', 'default', '--namespace=default');
  await kubectl('apply', '--dry-run=server', '--validate=strict', '-f', samples);
});

test('kubeconform finds nothing wrong in the manifests, the samples and the chart', async () => {
  const schemas = join(directory, 'schemas');
  expect(await writeSchemas(await kubectl('get', '--raw', '/openapi/v2'), schemas)).toBeGreaterThan(
    100,
  );
  const conform = (...args: string[]): Promise<Completed> =>
    run(binary('kubeconform'), [
      ...['-strict', '-summary', '-output=json', `-schema-location=${schemas}/${SCHEMA_LOCATION}`],
      ...args,
    ]);
  const rendered = join(directory, 'rendered.json');
  await writeFile(
    rendered,
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items: await render() }),
  );
  const report = await succeed(conform(join(repository, 'manifests'), rendered));
  expect(JSON.parse(report)).toMatchObject({ summary: { invalid: 0, errors: 0, skipped: 0 } });

  // And it can find something.
  const wrong = join(directory, 'wrong.json');
  const sample = { apiVersion: 'kata-operator.dev/v1alpha1', kind: 'KataDeployment', metadata: {} };
  await writeFile(wrong, JSON.stringify({ ...sample, spec: { rollout: { maxParalel: 2 } } }));
  const refused = await conform(wrong);
  expect(refused.code).toBe(1);
  expect(refused.stdout).toContain('maxParalel');
});

test('an uninstall leaves the definitions and the objects, and nothing else', async () => {
  const object = {
    apiVersion: 'kata-operator.dev/v1alpha1',
    kind: 'KataDeployment',
    metadata: { name: 'kata' },
  };
  await succeed(api.kubectl(['apply', '-f', '-'], JSON.stringify(object)));
  await onCluster('uninstall', 'kata-operator', '--no-hooks');
  expect(await kubectl('get', 'katad', '-o', 'name')).toBe(
    'katadeployment.kata-operator.dev/kata\n',
  );
  const left = await kubectl(
    ...['get', 'clusterroles,clusterrolebindings,roles,rolebindings,deployments,services'],
    ...['--all-namespaces', '-l', 'app.kubernetes.io/name=kata-operator', '-o', 'name'],
  );
  expect(left).toBe('');
});

function templateOf(owner: unknown): object {
  return (owner as { spec: { template: object } }).spec.template;
}
