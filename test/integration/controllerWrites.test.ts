/** What the controller writes, as a real API server takes it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { act } from '../../src/controller/deployment/act.ts';
import * as events from '../../src/controller/events.ts';
import { Expectations } from '../../src/controller/expectations.ts';
import { KATA_DEPLOYMENTS, KATA_NODES } from '../../src/controller/resources.ts';
import type { Manifest, Write } from '../../src/controller/writes.ts';
import { runtimeClassContent } from '../../src/controller/runtimeclass/desired.ts';
import { API_VERSION, FINALIZER, LABEL, MANAGED_BY } from '../../src/crds/names.ts';
import { systemClock } from '../../src/kube/clock.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { loadKubeConfig } from '../../src/kube/config.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { NODES, RUNTIME_CLASSES, type KubeObject } from '../../src/kube/resource.ts';
import { createTransport, type Transport } from '../../src/kube/transport.ts';
import { labelWrite } from '../unit/controller/support/labelWrite.ts';
import { controllerRecorder } from '../unit/controller/support/recorder.ts';
import type { ApiServer } from './support/apiServer.ts';
import { startWithKinds } from './support/kinds.ts';
import { quiet } from './support/quietLog.ts';
import { succeed } from './support/run.ts';

const signal = new AbortController().signal;

let server: ApiServer;
let transport: Transport;
let client: KubeClient;

beforeAll(async () => {
  server = await startWithKinds();
  transport = createTransport(loadKubeConfig({ kubeconfig: server.kubeconfig }));
  client = new KubeClient(transport);
});

afterAll(async () => {
  await transport.close();
  await server.stop();
});

async function perform(...writes: Write[]): Promise<void> {
  const recorder = controllerRecorder(client, quiet);
  const expectations = new Expectations(() => systemClock.monotonicMs());
  await act(
    { client, recorder, expectations, nodeNamespace: 'default', log: quiet },
    writes,
    signal,
  );
}

async function kubectl(args: string[], stdin?: string): Promise<string> {
  return await succeed(server.kubectl(args, stdin));
}

describe('finalizers', () => {
  const put = ({ metadata }: KubeObject, finalizers: string[]): Write => ({
    verb: 'finalizers',
    kind: 'KataDeployment',
    name: metadata.name,
    uid: metadata.uid ?? '',
    seen: metadata.resourceVersion ?? '',
    finalizers,
  });

  it('are given to an object that has none, and taken, and then it can go', async () => {
    await kubectl(['apply', '-f', '-'], manifestOf({ name: 'plain' }));
    await perform(put(await client.get(KATA_DEPLOYMENTS, { name: 'plain' }, signal), [FINALIZER]));
    await client.delete(KATA_DEPLOYMENTS, { name: 'plain' }, {}, signal);
    const held = await client.get(KATA_DEPLOYMENTS, { name: 'plain' }, signal);
    expect(held.metadata.finalizers).toEqual([FINALIZER]);
    await perform(put(held, []));
    await expect(client.get(KATA_DEPLOYMENTS, { name: 'plain' }, signal)).rejects.toSatisfy(
      isNotFound,
    );
  });

  it('are taken off an object that was made from an export and belongs to kubectl', async () => {
    const finalizers = [FINALIZER];
    await kubectl(
      ['apply', '--server-side', '-f', '-'],
      manifestOf({ name: 'restored', finalizers }),
    );
    await client.delete(KATA_DEPLOYMENTS, { name: 'restored' }, {}, signal);
    await perform(put(await client.get(KATA_DEPLOYMENTS, { name: 'restored' }, signal), []));
    await expect(client.get(KATA_DEPLOYMENTS, { name: 'restored' }, signal)).rejects.toSatisfy(
      isNotFound,
    );
  });

  it('of an object that has changed since are left alone', async () => {
    await kubectl(['apply', '-f', '-'], manifestOf({ name: 'changed' }));
    const seen = await client.get(KATA_DEPLOYMENTS, { name: 'changed' }, signal);
    await kubectl(['annotate', 'katadeployment', 'changed', 'a=b']);
    await expect(perform(put(seen, [FINALIZER]))).rejects.toThrow();
    const now = await client.get(KATA_DEPLOYMENTS, { name: 'changed' }, signal);
    expect(now.metadata.finalizers).toBeUndefined();
  });
});

describe('labels', () => {
  it('leave the shared one to another manager, and take those of our own prefix back', async () => {
    await kubectl(
      ['create', '-f', '-'],
      JSON.stringify({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } }),
    );
    const { metadata } = await client.get(NODES, { name: 'n1' }, signal);
    const own = Array.from({ length: 20 }, (_, index) => `runtime.kata-operator.dev/kata-${index}`);
    const labels = Object.fromEntries([...own, LABEL.kataRuntime].map((key) => [key, 'theirs']));
    const theirs = { metadata: { name: 'n1', labels } };
    await client.apply(NODES, theirs, { fieldManager: 'other', force: true }, signal);
    const node = { name: 'n1', uid: metadata.uid ?? '' };
    await perform(labelWrite(node, [...own, LABEL.kataRuntime]));
    const now = (await client.get(NODES, { name: 'n1' }, signal)).metadata.labels ?? {};
    expect(now[LABEL.kataRuntime]).toBe('theirs');
    expect(own.map((key) => now[key])).toEqual(own.map(() => 'true'));
  });
});

describe('RuntimeClasses', () => {
  it('are as wanted once they are written, however the API server and others write them', async () => {
    const labels = { [LABEL.managedBy]: MANAGED_BY, wanted: 'yes' };
    const object: Manifest = {
      apiVersion: 'node.k8s.io/v1',
      kind: 'RuntimeClass',
      metadata: { name: 'kata-qemu', labels },
      handler: 'kata-qemu',
      overhead: { podFixed: { cpu: '0.25', memory: '1024Mi' } },
      scheduling: { nodeSelector: { a: 'b' }, tolerations: [{ key: 'c', operator: 'Exists' }] },
    };
    const read = async (): Promise<unknown> =>
      runtimeClassContent(await client.get(RUNTIME_CLASSES, { name: 'kata-qemu' }, signal));
    await perform({ verb: 'apply', manager: 'spec', object });
    await kubectl(['label', 'runtimeclass', 'kata-qemu', 'argocd.argoproj.io/instance=x']);
    expect(await read()).toEqual(runtimeClassContent(object));
    await kubectl(['label', '--overwrite', 'runtimeclass', 'kata-qemu', 'wanted=no']);
    expect(await read()).not.toEqual(runtimeClassContent(object));
  });
});

describe('Events', () => {
  it('on a KataNode, which has no namespace, stand in its description', async () => {
    await client.create(
      KATA_NODES,
      {
        metadata: { name: 'n1' },
        spec: { deployment: 'kata', nodeUID: 'uid-1' },
      },
      signal,
    );
    const { metadata } = await client.get(KATA_NODES, { name: 'n1' }, signal);
    const kataNode = { name: 'n1', uid: metadata.uid ?? '' };
    await perform(
      { verb: 'event', event: events.nodeReady(kataNode, ['kata-qemu']) },
      { verb: 'event', event: events.nodeFailed(kataNode, 'Activate', 'EngineFailed', 'no') },
    );
    const shown = await kubectl(['describe', 'katanode', 'n1']);
    expect(shown).toContain('n1 serves kata-qemu');
    expect(shown).toContain('EngineFailed');
    const where = await kubectl([
      'get',
      'events',
      '-A',
      '-o',
      'jsonpath={.items[*].metadata.namespace}',
    ]);
    expect(new Set(where.split(' '))).toEqual(new Set(['default']));
  });
});

function manifestOf(metadata: { name: string; finalizers?: string[] }): string {
  return JSON.stringify({ apiVersion: API_VERSION, kind: 'KataDeployment', metadata, spec: {} });
}
