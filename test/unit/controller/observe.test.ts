import { afterEach, describe, expect, it } from 'vitest';
import { Cache } from '../../../src/controller/cache/cache.ts';
import { observe } from '../../../src/controller/deployment/observe.ts';
import type { Observed } from '../../../src/controller/deployment/observed.ts';
import { UsageLookup } from '../../../src/controller/deployment/usage.ts';
import { LABEL, MANAGED_BY } from '../../../src/crds/names.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import type { KubeObject } from '../../../src/kube/resource.ts';
import { createTransport } from '../../../src/kube/transport.ts';
import { FakeClock } from '../kube/fakeClock.ts';
import { recordingLog } from '../kube/recordingLog.ts';
import { deleted, eventually, list, modified } from '../kube/scriptedServer.ts';
import { ApiStub, type Collection } from './support/apiStub.ts';
import { NODE_POD_SETTINGS } from './support/settings.ts';

const PODS = 'GET /api/v1/pods';

function labelled(name: string, deployment: string, managedBy = MANAGED_BY): KubeObject {
  const labels = { [LABEL.deployment]: deployment, [LABEL.managedBy]: managedBy };
  return { metadata: { name, uid: `u-${name}`, resourceVersion: '5', labels } };
}

const KATA: KubeObject = {
  metadata: { name: 'kata', uid: 'u-kata', resourceVersion: '10', finalizers: ['f'] },
  spec: { nodes: { selector: { matchLabels: { pool: 'yes' } } } },
};
const node = (name: string, pool: string): KubeObject => ({
  metadata: { name, uid: `u-${name}`, resourceVersion: '20', labels: { pool } },
});
const kataNode = (name: string, deployment: string): KubeObject => ({
  metadata: { name, uid: `k-${name}`, resourceVersion: '30' },
  spec: { deployment, nodeUID: `u-${name}`, revision: 'a1' },
});

describe('observe', () => {
  const signal = AbortSignal.timeout(10_000);
  let end: () => Promise<void> = () => Promise.resolve();

  afterEach(async () => {
    await end();
  });

  async function start(
    objects: Readonly<Partial<Record<Collection, readonly KubeObject[]>>>,
  ): Promise<{ api: ApiStub; cache: Cache; look: () => Promise<Observed | undefined> }> {
    const api = await ApiStub.start(objects);
    const transport = createTransport(api.server.kubeConfig());
    const client = new KubeClient(transport);
    const stop = new AbortController();
    const cache = new Cache({
      client,
      nodeNamespace: 'kata-nodes',
      log: recordingLog(),
      touched: () => undefined,
    });
    const watching = cache.run(stop.signal);
    end = async () => {
      stop.abort();
      await watching;
      await transport.close();
      await api.server.close();
    };
    await cache.fresh(60_000, signal);
    const deps = {
      cache,
      usage: new UsageLookup({ client, clock: new FakeClock() }),
      settings: NODE_POD_SETTINGS,
    };
    return { api, cache, look: () => observe(deps, 'kata', signal) };
  }

  it('finds its own objects, and those of others where they may be in the way', async () => {
    const { api, look } = await start({
      deployments: [KATA],
      nodes: [node('n1', 'yes'), node('n2', 'yes')],
      kataNodes: [kataNode('n1', 'kata'), kataNode('n2', 'other')],
      configMaps: [labelled('kata-kata-a1', 'kata'), labelled('kata-other-b1', 'other')],
      daemonSets: [labelled('kata-kata-a1', 'kata'), labelled('kata-other-b1', 'other')],
      runtimeClasses: [
        labelled('kata-qemu', 'kata'),
        labelled('kata-clh', 'kata', 'Helm'),
        labelled('kata-fc', 'other'),
      ],
    });
    const seen = await look();
    const names = (views: readonly { name: string }[] | undefined): string[] | undefined =>
      views?.map(({ name }) => name);
    expect([...(seen?.kataNodes.keys() ?? [])]).toEqual(['n1', 'n2']);
    expect(names(seen?.configMaps)).toEqual(['kata-kata-a1']);
    expect(names(seen?.daemonSets)).toEqual(['kata-kata-a1']);
    expect(names(seen?.runtimeClasses)).toEqual(['kata-qemu']);
    expect([...(seen?.foreignClasses.keys() ?? [])].sort()).toEqual(['kata-clh', 'kata-fc']);
    expect(api.server.seen(PODS)).toEqual([]);
  });

  it('looks up Pods when a node leaves, and then decides about now, not about before the look', async () => {
    const { api, cache, look } = await start({
      deployments: [KATA],
      nodes: [node('n1', 'no')],
      kataNodes: [kataNode('n1', 'kata')],
      runtimeClasses: [labelled('kata-qemu', 'kata')],
    });
    await eventually('the watch', () => api.watches.nodes.isOpen);
    api.server.on(PODS, async (response, request) => {
      const back = { ...node('n1', 'yes'), metadata: { ...node('n1', 'yes').metadata } };
      back.metadata.resourceVersion = '21';
      api.watches.nodes.send(modified(back));
      await eventually('the change', () => cache.nodes.get('n1')?.labels['pool'] === 'yes');
      const spec = { runtimeClassName: 'kata-qemu', nodeName: 'n1' };
      await list([{ metadata: { namespace: 'user', name: 'p' }, spec }], '9')(response, request);
    });
    const seen = await look();
    expect(seen?.usage.byNode.get('n1')).toEqual(['user/p']);
    expect(seen?.nodes[0]?.labels['pool']).toBe('yes');
  });

  it('is nothing when there is no such KataDeployment', async () => {
    const { api, cache, look } = await start({ deployments: [KATA] });
    expect(await look()).toBeDefined();
    await eventually('the watch', () => api.watches.deployments.isOpen);
    api.watches.deployments.send(deleted(KATA));
    await eventually('the end', () => cache.deployments.get('kata') === undefined);
    expect(await look()).toBeUndefined();
  });

  it('keeps a specification that cannot be read as an error, with the field', async () => {
    const bad = { ...KATA, spec: { rollout: { failureBudget: 'many' } } };
    const { look } = await start({ deployments: [bad] });
    const parsed = (await look())?.parsed;
    expect(parsed?.ok === false && parsed.error.message).toContain('failureBudget');
  });
});
