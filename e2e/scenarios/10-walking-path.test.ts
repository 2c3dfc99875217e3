/** From helm install to a Pod in a sandbox, and back to what was before. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { judgeIsolation } from '../../src/kata/isolation.ts';
import { existsOnNode, hostKernel } from '../operator/host.ts';
import { applySampleDeployment } from '../operator/kvm.ts';
import { SAMPLES } from '../operator/operator.ts';
import { onePod } from '../operator/pods.ts';
import {
  containerIdentity,
  engineStarts,
  fingerprints,
  INSTALL_TIMEOUT_MS,
  kataDeployment,
  NODES,
  rig,
  type Rig,
} from './support/operator.ts';

const NAMESPACE = 'default';
const HANDLERS = ['kata-clh', 'kata-fc', 'kata-qemu'];

describe('the walking path', () => {
  let it_: Rig;
  let configBefore: Record<string, string>;
  let startsBefore: Record<string, number>;
  const bystanders = new Map<string, string>();

  beforeAll(async () => {
    it_ = await rig();
    const { cluster, operator } = it_;
    await operator.remove('kata');
    configBefore = await fingerprints(cluster);
    startsBefore = await engineStarts(cluster);
    for (const node of NODES) {
      const pod = onePod({ name: `bystander-${node}`, command: ['sleep', '3600'], node });
      await operator.apply(pod);
      await operator.waitPod(NAMESPACE, pod.metadata.name, 'Running');
      bystanders.set(
        pod.metadata.name,
        await containerIdentity(cluster, NAMESPACE, pod.metadata.name),
      );
    }
  });

  afterAll(async () => {
    const { operator } = it_;
    for (const pod of [...bystanders.keys(), 'early', 'kata-fc'])
      await operator.deletePod(NAMESPACE, pod);
    await operator.remove('kata');
  });

  it('lets a Pod wait for its class while no node is ready yet', async () => {
    const { cluster, operator } = it_;
    await operator.apply(kataDeployment({ rollout: { paused: true } }));
    await operator.waitReason('kata', 'Progressing', 'Paused');
    await operator.apply(
      onePod({ name: 'early', runtimeClass: 'kata-fc', command: ['uname', '-r'] }),
    );
    await operator.holdsFor(5_000);
    expect(await cluster.kubectl(['get', 'pod', 'early', '-o', 'jsonpath={.status.phase}'])).toBe(
      'Pending',
    );
  });

  it('makes both nodes Ready and becomes Available, also right after an edit', async () => {
    const { cluster, operator, kvm } = it_;
    await applySampleDeployment(cluster, kvm);
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    const nodes = await operator.kataNodes();
    expect(nodes.map(({ metadata, status }) => [metadata.name, status?.phase])).toEqual(
      NODES.map((node) => [node, 'Ready']),
    );
    for (const { status } of nodes) expect([...(status?.handlers ?? [])].sort()).toEqual(HANDLERS);
  });

  it('starts the Pod that waited, as soon as a node serves its handler', async () => {
    await it_.operator.waitPod(NAMESPACE, 'early', 'Succeeded');
  });

  it("runs the sample Pod on a kernel that is not the host's", async () => {
    const { cluster, operator } = it_;
    await cluster.kubectl(['apply', '-f', join(SAMPLES, 'pod-kata-fc.yaml')]);
    await operator.waitPod(NAMESPACE, 'kata-fc', 'Succeeded');
    const kernel = (await cluster.kubectl(['logs', 'kata-fc'])).split(/\s+/)[2] ?? '';
    const node = await cluster.kubectl([
      'get',
      'pod',
      'kata-fc',
      '-o',
      'jsonpath={.spec.nodeName}',
    ]);
    expect(judgeIsolation(await hostKernel(cluster, node), kernel)).toMatchObject({
      isolated: true,
    });
  });

  it('restarted each engine once and no container of others', async () => {
    const { cluster } = it_;
    const starts = await engineStarts(cluster);
    for (const node of NODES) expect((starts[node] ?? 0) - (startsBefore[node] ?? 0), node).toBe(1);
    for (const [pod, identity] of bystanders)
      expect(await containerIdentity(cluster, NAMESPACE, pod)).toBe(identity);
  });

  it('labels the nodes by what they can do', async () => {
    const { cluster } = it_;
    for (const node of NODES) {
      const labels = await cluster.kubectl([
        'get',
        'node',
        node,
        '-o',
        'jsonpath={.metadata.labels}',
      ]);
      expect(JSON.parse(labels)).toMatchObject({
        'katacontainers.io/kata-runtime': 'true',
        'runtime.kata-operator.dev/kata-fc': 'true',
      });
    }
  });

  it('reads well in kubectl', async () => {
    const { cluster } = it_;
    const table = await cluster.kubectl(['get', 'katad']);
    expect(table).toMatch(/^NAME\s+VERSION\s+DESIRED\s+READY\s+FAILED\s+WAVE\s+AGE\n/);
    expect(table).toMatch(/^kata\s+4\.1\.0\s+2\s+2\s+0/m);
    const nodes = await cluster.kubectl(['get', 'katanodes']);
    expect(nodes).toMatch(/^node-a\s+kata\s+Ready/m);
    expect(await cluster.kubectl(['describe', 'katad', 'kata'])).toContain('AllNodesReady');
  });

  it('brings everything back when the KataDeployment is deleted', async () => {
    const { cluster, operator } = it_;
    for (const pod of ['early', 'kata-fc']) await operator.deletePod(NAMESPACE, pod);
    await operator.remove('kata');
    expect(await fingerprints(cluster)).toEqual(configBefore);
    for (const node of NODES) {
      expect(await existsOnNode(cluster, node, '/opt/kata'), node).toBe(false);
      const labels = await cluster.kubectl([
        'get',
        'node',
        node,
        '-o',
        'jsonpath={.metadata.labels}',
      ]);
      expect(labels).not.toContain('kata');
    }
    const left = await cluster.kubectl(['get', 'runtimeclasses,katanodes', '-o', 'name']);
    expect(left.trim()).toBe('');
    const owned = await cluster.kubectl([
      '-n',
      'kata-operator-nodes',
      'get',
      'daemonsets,pods,configmaps',
      '-l',
      'app.kubernetes.io/managed-by=kata-operator',
      '-o',
      'name',
    ]);
    expect(owned.trim()).toBe('');
    for (const [pod, identity] of bystanders)
      expect(await containerIdentity(cluster, NAMESPACE, pod)).toBe(identity);
  });
});
