import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Cache } from '../../../src/controller/cache/cache.ts';
import { UsageLookup } from '../../../src/controller/deployment/usage.ts';
import { Metrics } from '../../../src/controller/metrics.ts';
import { Reconciler, RETRY_LIMITS } from '../../../src/controller/reconciler.ts';
import { FINALIZER, LABEL } from '../../../src/crds/names.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import type { KubeObject } from '../../../src/kube/resource.ts';
import { createTransport, type Transport } from '../../../src/kube/transport.ts';
import { WorkQueue } from '../../../src/kube/workqueue.ts';
import { FakeClock } from '../kube/fakeClock.ts';
import { recordingLog } from '../kube/recordingLog.ts';
import { eventually, failure } from '../kube/scriptedServer.ts';
import { ApiStub, echo, refused, type Collection } from './support/apiStub.ts';
import { controllerRecorder } from './support/recorder.ts';
import { NODE_POD_SETTINGS } from './support/settings.ts';

/** Of a runtime that no catalogue has: it starts nothing, so that its status is all that is written. */
function aDeployment(more: Partial<KubeObject['metadata']> = {}): KubeObject {
  return {
    metadata: { name: 'kata', uid: 'u-1', resourceVersion: '10', finalizers: [FINALIZER], ...more },
    spec: { runtimes: [{ name: 'nosuch', base: 'nosuch' }] },
  };
}

function aWaitingNode(name: string): { node: KubeObject; kataNode: KubeObject } {
  return {
    node: {
      metadata: { name, uid: `uid-${name}`, resourceVersion: '20', labels: {} },
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    },
    kataNode: {
      metadata: { name, uid: `k-${name}`, resourceVersion: '30' },
      spec: { deployment: 'kata', nodeUID: `uid-${name}`, revision: 'a1' },
    },
  };
}

describe('Reconciler', () => {
  let api: ApiStub;
  let transport: Transport;
  let clock: FakeClock;
  let queue: WorkQueue;
  let stop: AbortController;
  let running: Promise<unknown>;

  beforeEach(() => {
    clock = new FakeClock();
    stop = new AbortController();
  });

  afterEach(async () => {
    stop.abort();
    await running;
    await transport.close();
    await api.server.close();
  });

  async function apiWith(
    objects: Readonly<Partial<Record<Collection, readonly KubeObject[]>>>,
  ): Promise<void> {
    api = await ApiStub.start(objects);
  }

  async function start(): Promise<void> {
    transport = createTransport(api.server.kubeConfig());
    const client = new KubeClient(transport);
    const log = recordingLog();
    queue = new WorkQueue({ clock, rateLimits: RETRY_LIMITS });
    const cache = new Cache({
      client,
      nodeNamespace: 'kata-nodes',
      log,
      touched: (name) => {
        queue.add(name);
      },
    });
    const recorder = controllerRecorder(client, log, clock);
    const reconciler = new Reconciler({
      cache,
      queue,
      metrics: new Metrics(),
      clock,
      log,
      observe: {
        cache,
        usage: new UsageLookup({ client, clock }),
        settings: NODE_POD_SETTINGS,
      },
      act: { client, recorder, nodeNamespace: 'kata-nodes', log },
    });
    const watching = cache.run(stop.signal);
    await cache.fresh(60_000, stop.signal);
    running = Promise.all([watching, reconciler.run(stop.signal)]);
  }

  const statusWrites = (): number => api.applies('deployments', 'kata/status').length;

  /** Fails so often that the own pace of retries is slower than any deadline. */
  async function failOften(attempts: () => number): Promise<void> {
    for (let failure = 1; failure <= 15; failure += 1) {
      await eventually(`failure ${failure}`, () => queue.failures('kata') >= failure);
      if (failure < 15) clock.advance(RETRY_LIMITS.maxDelayMs);
    }
    await eventually('a first attempt', () => attempts() > 0);
  }

  it('looks after the nodes in time although one write is refused for good', async () => {
    const { node, kataNode } = aWaitingNode('n1');
    await apiWith({ deployments: [aDeployment()], nodes: [node], kataNodes: [kataNode] });
    api.onApply('deployments', 'kata/status', refused);
    await start();
    await failOften(statusWrites);
    const before = statusWrites();
    // A node that waits is looked at every fifteen seconds.
    clock.advance(15_000);
    await eventually('another attempt', () => statusWrites() > before);
  });

  it('tries what fails altogether again every minute at the latest', async () => {
    const deletionTimestamp = '2030-01-01T00:00:00Z';
    const labels = { [LABEL.managedBy]: 'kata-operator', [LABEL.deployment]: 'kata' };
    await apiWith({
      deployments: [aDeployment({ deletionTimestamp })],
      runtimeClasses: [{ metadata: { name: 'kata-qemu', uid: 'c', resourceVersion: '5', labels } }],
    });
    api.server.on('GET /api/v1/pods', failure(403, 'Forbidden'));
    await start();
    const attempts = (): number => api.server.seen('GET /api/v1/pods').length;
    await failOften(attempts);
    const before = attempts();
    clock.advance(60_000);
    await eventually('another attempt', () => attempts() > before);
  });

  it('decides nothing from a cache that does not show its own writes yet', async () => {
    await apiWith({ deployments: [aDeployment()] });
    api.onApply('deployments', 'kata/status', echo('12'));
    await start();
    await eventually('the status', () => statusWrites() === 1);
    // What somebody else wrote a moment before is seen first: it still bears no status of ours.
    const early = { type: 'MODIFIED', object: aDeployment({ resourceVersion: '11' }) };
    api.watches.deployments.send(early);
    await eventually('the version in between', () => queue.depth === 0);
    for (let tick = 0; tick < 10; tick += 1) {
      clock.advance(50);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(statusWrites()).toBe(1);
  });
});
