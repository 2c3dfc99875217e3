import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import { isNotLeader } from '../../../src/kube/errors.ts';
import { fenced } from '../../../src/kube/fence.ts';
import { LeaderElector } from '../../../src/kube/lease.ts';
import { CONFIG_MAPS, NODES } from '../../../src/kube/resource.ts';
import { createTransport, type Transport } from '../../../src/kube/transport.ts';
import { recordingLog } from './recordingLog.ts';
import {
  eventually,
  failure,
  json,
  list,
  node,
  ScriptedServer,
  type Step,
} from './scriptedServer.ts';

const TIMING = { leaseDurationMs: 2_000, renewDeadlineMs: 1_000, retryPeriodMs: 50 };

const LEASE = '/apis/coordination.k8s.io/v1/namespaces/kata/leases/leader';

describe('a leader', () => {
  let server: ScriptedServer;
  let transport: Transport;
  let taken: boolean;
  let stop: AbortController;
  let running: Promise<void> | undefined;

  beforeEach(async () => {
    server = await ScriptedServer.start();
    transport = createTransport(server.kubeConfig());
    taken = false;
    server
      .on(`GET ${LEASE}`, (response, request) => lease()(response, request))
      .on(`PUT ${LEASE}`, (response, request) =>
        (taken ? failure(409, 'Conflict') : lease())(response, request),
      );
    stop = new AbortController();
  });

  afterEach(async () => {
    stop.abort();
    await running;
    await transport.close();
    await server.close();
  });

  function lease(): Step {
    const metadata = { name: 'leader', namespace: 'kata', resourceVersion: '1' };
    const spec = { holderIdentity: taken ? 'b' : 'a', leaseDurationSeconds: 60 };
    return json({ metadata, spec });
  }

  async function leading(): Promise<LeaderElector> {
    const client = new KubeClient(transport);
    const where = { namespace: 'kata', name: 'leader', identity: 'a' };
    const elector = new LeaderElector({ client, ...where, log: recordingLog(), ...TIMING });
    running = elector.run(stop.signal, async (signal) => {
      await new Promise((resolve) => {
        signal.addEventListener('abort', resolve);
      });
    });
    await eventually('it leads', () => elector.isLeader());
    return elector;
  }

  it('writes nothing after an event loop that stood still past the deadline', async () => {
    const fresh = createTransport(server.kubeConfig());
    const elector = await leading();
    server
      .on('PATCH /api/v1/nodes/guarded', json(node('guarded', '2')))
      .on('PATCH /api/v1/nodes/unguarded', json(node('unguarded', '2')));
    // A pool of its own, with no connection yet: the request waits for one while the loop stands still.
    const raw = new KubeClient(fresh);
    const guarded = fenced(raw, () => elector.isLeader());
    const signal = AbortSignal.timeout(5_000);
    // Begun while the lease was held: the check at the start of the call would let it pass.
    const write = (client: KubeClient, name: string): Promise<unknown> =>
      client.mergePatch(NODES, { name }, {}, {}, signal).catch((thrown: unknown) => thrown);
    const outcomes = [write(guarded, 'guarded'), write(raw, 'unguarded')];
    for (let turn = 0; turn < 100; turn++) await Promise.resolve();
    standStill(1.2 * TIMING.renewDeadlineMs);
    expect(elector.isLeader()).toBe(false);
    const [refused] = await Promise.all(outcomes);
    expect(isNotLeader(refused)).toBe(true);
    expect(server.seen('PATCH /api/v1/nodes/guarded')).toHaveLength(0);
    expect(server.seen('PATCH /api/v1/nodes/unguarded')).toHaveLength(1);
    await fresh.close();
  });

  it('does not repeat a throttled write when the lease was lost while it waited', async () => {
    const elector = await leading();
    server.on(
      'PATCH /api/v1/nodes/a',
      failure(429, 'TooManyRequests', 'busy', { retryAfter: 1 }),
      json(node('a', '2')),
    );
    const client = fenced(new KubeClient(transport), () => elector.isLeader());
    const writing = client
      .mergePatch(NODES, { name: 'a' }, {}, {}, AbortSignal.timeout(5_000))
      .catch((thrown: unknown) => thrown);
    await eventually('the first attempt', () => server.seen('PATCH /api/v1/nodes/a').length === 1);
    taken = true;
    expect(isNotLeader(await writing)).toBe(true);
    expect(server.seen('PATCH /api/v1/nodes/a')).toHaveLength(1);
  });
});

describe('fenced', () => {
  it('refuses every write, and lets every read pass, when not leading', async () => {
    const server = await ScriptedServer.start();
    const transport = createTransport(server.kubeConfig());
    server.on('GET /api/v1/nodes', list([], '1')).on('GET /api/v1/nodes/a', json(node('a', '1')));
    const client = fenced(new KubeClient(transport), () => false);
    const signal = AbortSignal.timeout(5_000);
    const object = { metadata: { name: 'a', namespace: 'n' } };
    const ref = { name: 'a', namespace: 'n' };
    await client.list(NODES, {}, signal);
    await client.get(NODES, { name: 'a' }, signal);
    const writes: Promise<unknown>[] = [
      client.create(CONFIG_MAPS, object, signal),
      client.update(CONFIG_MAPS, object, signal),
      client.apply(CONFIG_MAPS, object, { fieldManager: 'test' }, signal),
      client.mergePatch(CONFIG_MAPS, ref, {}, {}, signal),
      client.jsonPatch(CONFIG_MAPS, ref, [], {}, signal),
      client.delete(CONFIG_MAPS, ref, {}, signal),
    ];
    const outcomes = await Promise.allSettled(writes);
    expect(
      outcomes.map((outcome) => outcome.status === 'rejected' && isNotLeader(outcome.reason)),
    ).toEqual(writes.map(() => true));
    expect(server.received.map((request) => request.method)).toEqual(['GET', 'GET']);
    await transport.close();
    await server.close();
  });
});

/** Blocks the whole thread, as a long garbage collection or a starved container does. */
function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
