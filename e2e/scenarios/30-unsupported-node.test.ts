/** A node without usable KVM is not a failure: it is labelled, explained and left alone. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CONTAINERD_CONFIG, existsOnNode, sha256OfFile } from '../operator/host.ts';
import {
  engineStarts,
  INSTALL_TIMEOUT_MS,
  kataDeployment,
  rig,
  type Rig,
} from './support/operator.ts';

const KVM = '/dev/kvm';
const AWAY = '/dev/kvm.away';
const NO_OTHERS = 'no node has a KVM that could work';

describe('a node without KVM', () => {
  let it_: Rig;

  beforeAll(async () => {
    it_ = await rig();
    await it_.operator.remove('kata');
    if (it_.kvm) await it_.cluster.exec('node-b', ['mv', KVM, AWAY]);
  });

  afterAll(async () => {
    if (await existsOnNode(it_.cluster, 'node-b', AWAY))
      await it_.cluster.exec('node-b', ['mv', AWAY, KVM]);
    await it_.operator.remove('kata');
  });

  it('is Unsupported with the reason, labelled kvm=false, and not touched', async () => {
    const { cluster, operator } = it_;
    const config = await sha256OfFile(cluster, 'node-b', CONTAINERD_CONFIG);
    const starts = (await engineStarts(cluster))['node-b'];
    await operator.apply(kataDeployment({ nodes: { requireKVM: true } }));
    const node = await operator.waitPhase('node-b', 'Unsupported', INSTALL_TIMEOUT_MS);
    expect(node.status?.error).toMatchObject({ reason: 'NoKVM' });
    expect(node.status?.error?.message).toContain(KVM);
    const labels = await cluster.kubectl([
      'get',
      'node',
      'node-b',
      '-o',
      'jsonpath={.metadata.labels}',
    ]);
    expect(JSON.parse(labels)).toMatchObject({ 'kata-operator.dev/kvm': 'false' });
    expect(labels).not.toContain('runtime.kata-operator.dev');
    expect(await sha256OfFile(cluster, 'node-b', CONTAINERD_CONFIG)).toBe(config);
    expect((await engineStarts(cluster))['node-b']).toBe(starts);
    expect(await existsOnNode(cluster, 'node-b', '/opt/kata')).toBe(false);
  });

  it('does not keep the others from becoming Available', async (context) => {
    context.skip(!it_.kvm, NO_OTHERS);
    await it_.operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    expect((await it_.operator.kataNode('node-a'))?.status?.phase).toBe('Ready');
  });

  it('keeps the whole from being Available where no node is another', async (context) => {
    context.skip(it_.kvm, 'node-a has KVM');
    await it_.operator.waitReason('kata', 'Available', 'NoCapableNodes', INSTALL_TIMEOUT_MS);
  });

  it('is taken in when KVM works and a person asks', async (context) => {
    context.skip(!it_.kvm, NO_OTHERS);
    const { cluster, operator } = it_;
    await cluster.exec('node-b', ['mv', AWAY, KVM]);
    await cluster.kubectl([
      'annotate',
      'katanode',
      'node-b',
      'kata-operator.dev/retry=kvm-is-back',
      '--overwrite',
    ]);
    const node = await operator.waitPhase('node-b', 'Ready', INSTALL_TIMEOUT_MS);
    expect(node.status?.handlers).toContain('kata-fc');
  });
});
