import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import { loadKubeConfig } from '../../../src/kube/config.ts';
import {
  isAlreadyExists,
  isConflict,
  conflictingFields,
  isNotFound,
} from '../../../src/kube/errors.ts';
import { EventRecorder } from '../../../src/kube/events.ts';
import { LeaderElector } from '../../../src/kube/lease.ts';
import { Reflector } from '../../../src/kube/reflector.ts';
import type { ReflectorTiming } from '../../../src/kube/reflectorOptions.ts';
import {
  CONFIG_MAPS,
  EVENTS,
  LEASES,
  NODES,
  type KubeObject,
  type Resource,
} from '../../../src/kube/resource.ts';
import {
  createTransport,
  type AttemptRecord,
  type Transport,
} from '../../../src/kube/transport.ts';
import { startApiServer, type ApiServer } from '../support/apiServer.ts';
import { quiet } from '../support/quietLog.ts';
import { FaultyLink } from './faultyLink.ts';

const NAMESPACE = 'default';
const CUSTOM_RESOURCE_DEFINITIONS: Resource = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
  namespaced: false,
};

let server: ApiServer;
let link: FaultyLink;
let transport: Transport;
let attempts: AttemptRecord[];
/** Over the link, which may be faulty. */
let client: KubeClient;
/** Past the link: what the rest of the world does. */
let world: KubeClient;
let worldTransport: Transport;
const signal = new AbortController().signal;

beforeAll(async () => {
  server = await startApiServer();
  worldTransport = createTransport(loadKubeConfig({ kubeconfig: server.kubeconfig }));
  world = new KubeClient(worldTransport);
});

afterAll(async () => {
  await worldTransport.close();
  await server.stop();
});

beforeEach(async () => {
  link = await FaultyLink.to(server.url);
  const config = loadKubeConfig({ kubeconfig: server.kubeconfig });
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error('the kubeconfig names no cluster');
  config.loadFromOptions({
    clusters: [{ ...cluster, server: link.url }],
    users: config.users,
    contexts: config.contexts,
    currentContext: config.currentContext,
  });
  attempts = [];
  transport = createTransport(config, { metricsHook: (attempt) => attempts.push(attempt) });
  client = new KubeClient(transport);
});

afterEach(async () => {
  await transport.close();
  await link.close();
});

describe('KubeClient with a real API server', () => {
  it('applies nothing to an object that vanished when the apply carries its uid', async () => {
    const made = await client.create(CONFIG_MAPS, configMap('vanishing'), signal);
    const { uid } = made.metadata;
    if (uid === undefined) throw new Error('an object without a uid');
    await client.delete(CONFIG_MAPS, { namespace: NAMESPACE, name: 'vanishing' }, { uid }, signal);
    const labels = {
      metadata: { name: 'vanishing', namespace: NAMESPACE, uid, labels: { a: 'b' } },
    };
    const apply = client.apply(CONFIG_MAPS, labels, { fieldManager: 'test', force: true }, signal);
    await expect(apply).rejects.toSatisfy(isConflict);
    const get = client.get(CONFIG_MAPS, { namespace: NAMESPACE, name: 'vanishing' }, signal);
    await expect(get).rejects.toSatisfy(isNotFound);
    // Nor to another that bears the name since.
    await client.create(CONFIG_MAPS, configMap('vanishing'), signal);
    await expect(
      client.apply(CONFIG_MAPS, labels, { fieldManager: 'test', force: true }, signal),
    ).rejects.toSatisfy(isConflict);
    await client.delete(CONFIG_MAPS, { namespace: NAMESPACE, name: 'vanishing' }, { uid }, signal);
    await client.get(CONFIG_MAPS, { namespace: NAMESPACE, name: 'vanishing' }, signal);
  });

  it('changes nothing by an apply of what is already so', async () => {
    const object = { ...configMap('steady'), data: { a: 'b' } };
    const first = await client.apply(CONFIG_MAPS, object, { fieldManager: 'test' }, signal);
    const second = await client.apply(CONFIG_MAPS, object, { fieldManager: 'test' }, signal);
    expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
  });

  it('removes by an apply what the same manager gives no more, and takes nothing from another without force', async () => {
    const both = { ...configMap('shared'), data: { ours: '1', both: '1' } };
    await client.apply(CONFIG_MAPS, both, { fieldManager: 'one' }, signal);
    const other = { ...configMap('shared'), data: { both: '2' } };
    await expect(
      client.apply(CONFIG_MAPS, other, { fieldManager: 'two' }, signal),
    ).rejects.toSatisfy((thrown) => conflictingFields(thrown).length === 1);
    const fewer = { ...configMap('shared'), data: { both: '1' } };
    const after = await client.apply(CONFIG_MAPS, fewer, { fieldManager: 'one' }, signal);
    expect(after['data']).toEqual({ both: '1' });
  });

  it('sends every word of a CustomResourceDefinition', async () => {
    const schema = {
      type: 'object',
      properties: {
        spec: {
          type: 'object',
          default: { size: 2 },
          'x-kubernetes-validations': [{ rule: 'self.size <= 3', message: 'too large' }],
          properties: {
            size: { type: 'integer', default: 2, enum: [1, 2, 3] },
            rest: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
          },
        },
      },
    };
    const names = { plural: 'things', singular: 'thing', kind: 'Thing', listKind: 'ThingList' };
    const version = {
      name: 'v1',
      served: true,
      storage: true,
      schema: { openAPIV3Schema: schema },
    };
    const spec = { group: 'test.kata-operator.dev', names, scope: 'Cluster', versions: [version] };
    const crd = { metadata: { name: 'things.test.kata-operator.dev' }, spec };
    const made = await client.apply(
      CUSTOM_RESOURCE_DEFINITIONS,
      crd,
      { fieldManager: 'test' },
      signal,
    );
    expect(made).toMatchObject({ spec: { versions: [{ schema: { openAPIV3Schema: schema } }] } });
  });

  it('tells who exists from who changed', async () => {
    const made = await client.create(CONFIG_MAPS, configMap('once'), signal);
    await expect(client.create(CONFIG_MAPS, configMap('once'), signal)).rejects.toSatisfy(
      isAlreadyExists,
    );
    await client.mergePatch(
      CONFIG_MAPS,
      { namespace: NAMESPACE, name: 'once' },
      { data: { a: 'b' } },
      {},
      signal,
    );
    await expect(client.update(CONFIG_MAPS, made, signal)).rejects.toSatisfy(isConflict);
  });
});

describe('EventRecorder with a real API server', () => {
  it('writes events that are accepted, and counts what repeats', async () => {
    const recorder = new EventRecorder({
      client,
      reportingController: 'kata-operator.dev/controller',
      reportingInstance: 'kata-operator-0',
      log: {
        ...quiet,
        warn: (fields) => {
          throw new Error(JSON.stringify(fields));
        },
      },
    });
    const regarding = {
      apiVersion: 'kata-operator.dev/v1alpha1',
      kind: 'KataDeployment',
      name: 'kata',
      uid: '5c2b',
    };
    const draft = {
      regarding,
      type: 'Warning',
      reason: 'FailureBudgetExhausted',
      action: 'Rollout',
      note: '2 of 240 nodes failed',
    } as const;
    for (let time = 0; time < 3; time++) await recorder.emit(draft, signal);
    const { items } = await client.list(EVENTS, { namespace: 'default' }, signal);
    const events = items.filter((event) => event['reason'] === 'FailureBudgetExhausted');
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ note: '2 of 240 nodes failed', series: { count: 2 } });
    const shown = await server.kubectl(['get', 'events']);
    expect(shown.stdout).toMatch(
      /Warning\s+FailureBudgetExhausted\s+katadeployment\/kata\s+2 of 240 nodes failed/,
    );
  });
});

describe('LeaderElector with a real API server', () => {
  it('hands over in an orderly end, and leads through two seconds of silence', async () => {
    const stand = (
      identity: string,
      over: KubeClient,
    ): {
      elector: LeaderElector;
      stop: AbortController;
      ended: Promise<void>;
      times: () => number;
    } => {
      const stop = new AbortController();
      let times = 0;
      const elector = new LeaderElector({
        client: over,
        namespace: 'kube-system',
        name: 'kata-operator',
        identity,
        log: quiet,
      });
      const ended = elector.run(stop.signal, async (leading) => {
        times += 1;
        await new Promise((resolve) => {
          leading.addEventListener('abort', resolve);
        });
      });
      return { elector, stop, ended, times: () => times };
    };
    const first = stand('first', client);
    await eventually(() => first.elector.isLeader(), 5_000);
    const second = stand('second', world);
    link.freeze();
    await delay(2_000);
    link.thaw();
    await delay(6_000);
    expect([first.elector.isLeader(), first.times(), second.elector.isLeader()]).toEqual([
      true,
      1,
      false,
    ]);
    first.stop.abort();
    await first.ended;
    await eventually(() => second.elector.isLeader(), 4_000);
    const lease = await world.get(
      LEASES,
      { namespace: 'kube-system', name: 'kata-operator' },
      signal,
    );
    expect(lease).toMatchObject({
      spec: { holderIdentity: 'second', leaseTransitions: 1, leaseDurationSeconds: 10 },
    });
    second.stop.abort();
    await second.ended;
  });
});

describe('Reflector with a real API server', () => {
  let stop: AbortController;
  let running: Promise<void> | undefined;
  const timing: Partial<ReflectorTiming> = { pageSize: 100, idleTimeoutMs: 3_000 };

  beforeAll(async () => {
    const names = Array.from({ length: 450 }, (_, index) => `worker-${index}`);
    await inParallel(20, names, async (name) => {
      await world.create(NODES, { metadata: { name } }, signal);
    });
  });

  beforeEach(() => {
    stop = new AbortController();
  });

  afterEach(async () => {
    stop.abort();
    await running;
  });

  function follow(more: Partial<ReflectorTiming> = {}): {
    nodes: Reflector<string>;
    told: string[];
  } {
    const told: string[] = [];
    const nodes = new Reflector({
      client,
      resource: NODES,
      transform: (raw) => raw.metadata.labels?.['step'] ?? '',
      onChange: ({ key, after }) => told.push(`${key}=${after ?? 'gone'}`),
      log: quiet,
      timing: { ...timing, ...more },
    });
    running = nodes.run(stop.signal);
    return { nodes, told };
  }

  const label = async (name: string, step: string): Promise<void> => {
    await world.mergePatch(NODES, { name }, { metadata: { labels: { step } } }, {}, signal);
  };

  it('reads all nodes in pages and follows changes', async () => {
    const { nodes, told } = follow({ idleTimeoutMs: 150_000 });
    await nodes.synced(AbortSignal.timeout(10_000));
    expect(nodes.list()).toHaveLength(450);
    expect(attempts.filter(({ path }) => path === '/api/v1/nodes').length).toBeGreaterThanOrEqual(
      5,
    );
    await eventually(() => nodes.stats.watches === 1, 5_000);
    await label('worker-7', 'one');
    await eventually(() => told.includes('worker-7=one'), 5_000);
    expect(nodes.stats.lists).toBe(1);
  });

  it('finds out what happened behind a connection that died in silence', async () => {
    const { nodes, told } = follow();
    await nodes.synced(AbortSignal.timeout(10_000));
    await eventually(() => nodes.stats.watches === 1, 5_000);
    link.freeze();
    const { uid } = (await world.get(NODES, { name: 'worker-3' }, signal)).metadata;
    await world.delete(NODES, { name: 'worker-3' }, { uid }, signal);
    await world.create(
      NODES,
      { metadata: { name: 'worker-3', labels: { step: 'reinstalled' } } },
      signal,
    );
    await label('worker-4', 'frozen');
    await delay(5_000);
    link.thaw();
    await eventually(() => told.includes('worker-4=frozen'), 35_000);
    const third = told.filter((change) => change.startsWith('worker-3=')).slice(-2);
    expect(third).toEqual(['worker-3=gone', 'worker-3=reinstalled']);
    expect(nodes.stats.lists).toBe(1);
  });

  it('loses nothing over a line that is cut every second, and does not storm the server', async () => {
    const { nodes, told } = follow();
    await nodes.synced(AbortSignal.timeout(10_000));
    const before = attempts.length;
    for (let second = 0; second < 8; second++) {
      link.cut();
      await label(`worker-${10 + second}`, 'cut');
      await delay(1_000);
    }
    const expected = Array.from({ length: 8 }, (_, second) => `worker-${10 + second}=cut`);
    await eventually(() => expected.every((change) => told.includes(change)), 35_000);
    expect(attempts.length - before).toBeLessThan(40);
    expect(told.filter((change) => change.endsWith('=cut'))).toHaveLength(8);
  });
});

function configMap(name: string): KubeObject {
  return { metadata: { name, namespace: NAMESPACE } };
}

async function inParallel(
  width: number,
  names: string[],
  work: (name: string) => Promise<void>,
): Promise<void> {
  const left = [...names];
  const worker = async (): Promise<void> => {
    for (let name = left.pop(); name !== undefined; name = left.pop()) await work(name);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

async function eventually(condition: () => boolean, deadlineMs: number): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > endMs)
      throw new Error(`not within ${deadlineMs} ms: ${String(condition)}`);
    await delay(20);
  }
}
