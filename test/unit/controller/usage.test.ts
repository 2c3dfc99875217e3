import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LABEL } from '../../../src/crds/names.ts';
import {
  MIN_INTERVAL_MS,
  UsageLookup,
  usageQuestion,
  type UsageQuestion,
} from '../../../src/controller/deployment/usage.ts';
import { decide } from '../../../src/controller/deployment/decide.ts';
import type { SandboxUsage } from '../../../src/controller/deployment/observed.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { createTransport, type Transport } from '../../../src/kube/transport.ts';
import { FakeClock } from '../kube/fakeClock.ts';
import { failure, json, list, ScriptedServer } from '../kube/scriptedServer.ts';
import { World } from './support/world.ts';

const PODS = 'GET /api/v1/pods';

function pod(name: string, runtimeClassName?: string, nodeName?: string): object {
  return { metadata: { namespace: 'user', name }, spec: { runtimeClassName, nodeName } };
}

function asked(nodes: string[], classes: string[] = []): UsageQuestion {
  return { nodes: new Set(nodes), classes: new Set(classes) };
}

describe('UsageLookup', () => {
  let server: ScriptedServer;
  let transport: Transport;
  let clock: FakeClock;
  let lookup: UsageLookup;
  const signal = AbortSignal.timeout(10_000);
  const ours = new Set(['kata-qemu', 'kata-fc']);

  beforeEach(async () => {
    server = await ScriptedServer.start();
    transport = createTransport(server.kubeConfig());
    clock = new FakeClock();
    lookup = new UsageLookup({ client: new KubeClient(transport), clock });
  });

  afterEach(async () => {
    await transport.close();
    await server.close();
  });

  const ask = async (question: UsageQuestion, name = 'kata'): Promise<SandboxUsage> =>
    lookup.answer(name, question, ours, signal);

  it('asks the API for nothing while nobody needs an answer', async () => {
    const usage = await ask(asked([]));
    expect([usage.byNode.size, usage.byClass.size, server.received.length]).toEqual([0, 0, 0]);
  });

  it('finds the Pods of our classes on all pages, and says of a free node that it is free', async () => {
    server.on(
      PODS,
      list([pod('a', 'kata-qemu', 'n1'), pod('b', undefined, 'n2')], '7', 'more'),
      list([pod('c', 'gvisor', 'n2'), pod('d', 'kata-qemu'), pod('e', 'kata-fc', 'n1')], '7'),
    );
    const usage = await ask(asked(['n1', 'n2'], ['kata-qemu']));
    expect([...usage.byNode]).toEqual([
      ['n1', ['user/a', 'user/e']],
      ['n2', []],
    ]);
    expect([...usage.byClass]).toEqual([['kata-qemu', ['user/a', 'user/d']]]);
    expect(server.received.map(({ query }) => query.get('limit'))).toEqual(['100', '100']);
  });

  it('has no entry for what was not asked', async () => {
    server.on(PODS, list([], '7'));
    const usage = await ask(asked(['n1']));
    expect(usage.byNode.has('n2')).toBe(false);
    expect(usage.byClass.size).toBe(0);
  });

  it('counts no page twice when the list has to be begun anew', async () => {
    server.on(
      PODS,
      list([pod('a', 'kata-qemu', 'n1')], '7', 'more'),
      failure(410, 'Expired'),
      list([pod('a', 'kata-qemu', 'n1')], '8'),
    );
    expect((await ask(asked(['n1']))).byNode.get('n1')).toEqual(['user/a']);
  });

  it('lists again only after the interval, and takes the earlier answer until then', async () => {
    server.on(PODS, list([pod('a', 'kata-qemu', 'n1')], '7'), list([], '8'));
    for (let second = 0; second < 3; second += 1) {
      expect((await ask(asked(['n1']))).byNode.get('n1')).toEqual(['user/a']);
      clock.advance(MIN_INTERVAL_MS / 3);
    }
    expect(server.received).toHaveLength(1);
    expect((await ask(asked(['n1']))).byNode.get('n1')).toEqual([]);
    expect(server.received).toHaveLength(2);
  });

  it('does not know of a node that is asked for within the interval, and says when it can', async () => {
    server.on(PODS, list([], '7'));
    await ask(asked(['n1']));
    expect(lookup.askAgainAfterMs('kata')).toBeUndefined();
    clock.advance(1_000);
    const usage = await ask(asked(['n1', 'n2']));
    expect([...usage.byNode.keys()]).toEqual(['n1']);
    expect(lookup.askAgainAfterMs('kata')).toBe(MIN_INTERVAL_MS - 1_000);
    clock.advance(MIN_INTERVAL_MS - 1_000);
    expect([...(await ask(asked(['n1', 'n2']))).byNode.keys()]).toEqual(['n1', 'n2']);
    expect(lookup.askAgainAfterMs('kata')).toBeUndefined();
  });

  it('takes no answer from before a node was in use again', async () => {
    server.on(PODS, list([], '7'));
    await ask(asked(['n1']));
    await ask(asked([]));
    expect((await ask(asked(['n1']))).byNode.has('n1')).toBe(false);
  });

  it('keeps the intervals of KataDeployments apart, and forgets one that is gone', async () => {
    server.on(PODS, list([], '7'));
    await ask(asked(['n1']));
    await ask(asked(['n1']), 'other');
    lookup.forget('kata');
    await ask(asked(['n1']));
    expect(server.received).toHaveLength(3);
  });

  it('fails when the list fails, and asks again next time', async () => {
    server.on(PODS, failure(403, 'Forbidden'), json({ metadata: {}, items: [] }));
    await expect(ask(asked(['n1']))).rejects.toThrow('403');
    expect((await ask(asked(['n1']))).byNode.get('n1')).toEqual([]);
  });
});

describe('what is asked', () => {
  it('is nothing while a KataDeployment is installed and stays', () => {
    const world = new World();
    world.addNode('n1');
    world.settle();
    expect(usageQuestion(world.observe())).toEqual(asked([]));
  });

  it('is a leaving node once it is no longer advertised, and no longer once its removal runs', () => {
    const world = new World({ nodes: { selector: { matchLabels: { pool: 'yes' } } } });
    world.addNode('n1', { labels: { pool: 'yes' } });
    world.settle();
    world.behaviour = (_, stage) => (stage === 'remove' ? 'hang' : undefined);
    world.edit({ nodes: { selector: { matchLabels: { pool: 'no' } } } });
    expect(usageQuestion(world.observe())).toEqual(asked([]));
    world.reconcile();
    expect(usageQuestion(world.observe())).toEqual(asked(['n1']));
    world.settle();
    expect(world.kataNode('n1')?.spec.revision).toBe('remove');
    expect(usageQuestion(world.observe())).toEqual(asked([]));
  });

  it('holds a node and a class back until it is answered', () => {
    const world = new World();
    world.addNode('n1');
    world.settle();
    world.delete();
    world.reconcile();
    const unknown = { byNode: new Map(), byClass: new Map() };
    const writes = (usage: SandboxUsage): string[] =>
      decide({ ...world.observe(), usage }, world.nowMs).writes.map((write) =>
        write.verb === 'apply' ? `${write.object.kind}/${write.manager}` : write.verb,
      );
    world.playCluster();
    expect(writes(unknown)).not.toContain('KataNode/spec');
    expect(writes(world.observe().usage)).toContain('KataNode/spec');
    for (const node of world.nodes.values()) node.metadata.labels = {};
    world.kataNodes.clear();
    world.configMaps.clear();
    world.daemonSets.clear();
    expect(writes(unknown)).not.toContain('delete');
    expect(writes(world.observe().usage)).toContain('delete');
  });

  it('is a class that the specification has dropped', () => {
    const world = new World({ runtimes: [{ name: 'qemu' }, { name: 'fc' }] });
    world.addNode('n1');
    world.settle();
    world.edit({ runtimes: [{ name: 'qemu' }] });
    expect(usageQuestion(world.observe())).toEqual(asked([], ['kata-fc']));
  });

  it('is every class once the last node of a deleted KataDeployment is released', () => {
    const world = new World();
    world.addNode('n1');
    world.settle();
    world.delete();
    expect(usageQuestion(world.observe())).toEqual(asked([]));
    for (const node of world.nodes.values()) node.metadata.labels = {};
    world.kataNodes.clear();
    expect(usageQuestion(world.observe())).toEqual(asked([], ['kata-qemu', 'kata-clh', 'kata-fc']));
  });

  it('is a leaving node also where the last attempt found that Kata cannot run', () => {
    const world = new World();
    world.addNode('n1');
    world.behaviour = () => ({ outcome: 'unsupported' });
    world.settle();
    world.delete();
    expect(usageQuestion(world.observe()).nodes).toEqual(new Set(['n1']));
  });

  it('is nothing for a node of another KataDeployment', () => {
    const world = new World();
    world.addNode('n1', { labels: { [LABEL.claim]: 'other.1234567890' } });
    world.delete();
    expect(usageQuestion(world.observe())).toEqual(asked([]));
  });
});
