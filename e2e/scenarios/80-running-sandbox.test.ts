/** A sandbox that runs while its node is given another revision, and while it is to be cleaned. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { existsOnNode } from '../operator/host.ts';
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
const POD = 'long-running';
const [NODE] = NODES;
const ROLLOUT = { maxParallel: '2', maxUnavailable: '2' };

describe('a sandbox that runs', () => {
  let it_: Rig;
  let configBefore: Record<string, string>;

  beforeAll(async () => {
    it_ = await rig();
    const { operator, cluster } = it_;
    await operator.remove('kata');
    configBefore = await fingerprints(cluster);
    await operator.apply(kataDeployment({ rollout: ROLLOUT }));
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    const command = ['sleep', '3600'];
    await operator.apply(onePod({ name: POD, runtimeClass: 'kata-fc', command, node: NODE }));
    await operator.waitPod(NAMESPACE, POD, 'Running');
  });

  afterAll(async () => {
    const { operator } = it_;
    await operator.deletePod(NAMESPACE, POD);
    await operator.remove('kata');
  });

  it('lives through another revision, which restarts each engine once', async () => {
    const { operator, cluster } = it_;
    const identity = await containerIdentity(cluster, NAMESPACE, POD);
    const starts = await engineStarts(cluster);
    await operator.apply(
      kataDeployment({ rollout: ROLLOUT, runtimes: [{ name: 'fc' }, { name: 'qemu' }] }),
    );
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    expect(await containerIdentity(cluster, NAMESPACE, POD)).toBe(identity);
    expect(await cluster.kubectl(['exec', POD, '--', 'uname', '-r'])).toContain('gvisor');
    const after = await engineStarts(cluster);
    for (const node of NODES) expect((after[node] ?? 0) - (starts[node] ?? 0), node).toBe(1);
    const revisions = (await operator.kataNodes()).map(({ status }) => status?.revision);
    expect(new Set(revisions).size).toBe(1);
    const classes = await cluster.kubectl(['get', 'runtimeclasses', '-o', 'name']);
    expect(classes.trim().split('\n').sort()).toEqual([
      'runtimeclass.node.k8s.io/kata-fc',
      'runtimeclass.node.k8s.io/kata-qemu',
    ]);
  });

  it('holds the removal of its node back, by name, until it ends', async () => {
    const { operator, cluster } = it_;
    await cluster.kubectl(['delete', 'katadeployment', 'kata', '--wait=false']);
    const { message } = await operator.waitReason('kata', 'Degraded', 'PodsInUse');
    expect(message).toContain(`${NAMESPACE}/${POD}`);
    expect(await existsOnNode(cluster, NODE, '/opt/kata/versions')).toBe(true);
    await operator.deletePod(NAMESPACE, POD);
    await operator.remove('kata');
    expect(await fingerprints(cluster)).toEqual(configBefore);
    for (const node of NODES) {
      expect(await existsOnNode(cluster, node, '/opt/kata'), node).toBe(false);
      const unit = '/etc/systemd/system/kata-operator-restore.service';
      expect(await existsOnNode(cluster, node, unit), node).toBe(false);
    }
  });
});
