import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import { Reflector } from '../../../src/kube/reflector.ts';
import type { ReflectorTiming } from '../../../src/kube/reflectorOptions.ts';
import { NODES, type KubeObject } from '../../../src/kube/resource.ts';
import type { Change } from '../../../src/kube/store.ts';
import { createTransport, type Transport } from '../../../src/kube/transport.ts';
import {
  added,
  bookmark,
  deleted,
  errorEvent,
  eventually,
  failure,
  LiveWatch,
  list,
  modified,
  node,
  ScriptedServer,
  watch,
} from './scriptedServer.ts';
import { recordingLog } from './recordingLog.ts';

const LIST = 'GET /api/v1/nodes';
const WATCH = 'WATCH /api/v1/nodes';

/** What is kept of a Node here: enough to tell versions and incarnations apart. */
interface Kept {
  name: string;
  uid: string;
  version: string;
}

const TIMING: Partial<ReflectorTiming> = {
  backoffBaseMs: 10,
  backoffMaxMs: 80,
  healthyAfterMs: 200,
  idleTimeoutMs: 10_000,
  redeliverAfterMs: 20,
};

describe('Reflector', () => {
  let server: ScriptedServer;
  let transport: Transport;
  let stop: AbortController;
  let running: Promise<void> | undefined;
  let changes: string[];

  beforeEach(async () => {
    server = await ScriptedServer.start();
    transport = createTransport(server.kubeConfig());
    stop = new AbortController();
    changes = [];
  });

  afterEach(async () => {
    stop.abort();
    await running;
    running = undefined;
    await transport.close();
    await server.close();
  });

  function startReflector(
    options: {
      timing?: Partial<ReflectorTiming>;
      onChange?: (change: Change<Kept>) => void;
      transform?: (raw: KubeObject) => Kept;
    } = {},
  ): Reflector<Kept> {
    const reflector = new Reflector<Kept>({
      client: new KubeClient(transport),
      resource: NODES,
      transform: options.transform ?? keep,
      onChange: (change) => {
        options.onChange?.(change);
        changes.push(describeChange(change));
      },
      log: recordingLog(),
      timing: { ...TIMING, ...options.timing },
    });
    running = reflector.run(stop.signal);
    return reflector;
  }

  it('fills the cache from a list and follows the watch from its resourceVersion', async () => {
    const live = new LiveWatch();
    server.on(LIST, list([node('a', '5')], '10')).on(WATCH, live.step);
    const reflector = startReflector();
    await reflector.synced(AbortSignal.timeout(8_000));
    expect(reflector.list()).toEqual([{ name: 'a', uid: 'uid-a', version: '5' }]);
    await eventually('the watch is open', () => live.isOpen);
    live.send(added(node('b', '11')), modified(node('a', '12')), deleted(node('b', '13')));
    await eventually('b is gone', () => changes.includes('-b'));
    expect(changes).toEqual(['+a@5', '+b@11', 'a@5→12', '-b']);
    const query = server.seen(WATCH)[0]?.query;
    expect(query?.get('resourceVersion')).toBe('10');
    expect(query?.get('allowWatchBookmarks')).toBe('true');
    expect(Number(query?.get('timeoutSeconds'))).toBeGreaterThanOrEqual(300);
  });

  it('asks for a list when a cache must be young and its watch is silent, and for none when it has told something', async () => {
    const live = new LiveWatch();
    server
      .on(LIST, list([node('a', '5')], '10'), list([node('a', '20')], '30'))
      .on(WATCH, live.step);
    const reflector = startReflector();
    await reflector.synced(AbortSignal.timeout(8_000));
    await eventually('the watch is open', () => live.isOpen);
    // What the watch should have told and did not: its connection is dead, and nobody knows.
    await delay(20);
    await reflector.fresh(10, AbortSignal.timeout(8_000));
    expect(reflector.get('a')?.version).toBe('20');
    expect(changes).toEqual(['+a@5', 'a@5→20']);
    await eventually('the next watch', () => server.seen(WATCH).length === 2);
    expect(server.seen(WATCH)[1]?.query.get('resourceVersion')).toBe('30');
    await delay(20);
    live.send(bookmark('31'));
    await eventually('the bookmark', () => reflector.lastEventAgeMs() < 15);
    await reflector.fresh(1_000, AbortSignal.timeout(8_000));
    expect(server.seen(LIST)).toHaveLength(2);
    expect(reflector.stats.errors).toBe(0);
  });

  it('is not young before a list that was begun late enough has succeeded', async () => {
    const slow = Promise.withResolvers<undefined>();
    server
      .on(
        LIST,
        async (response, request) => {
          await slow.promise;
          await list([node('a', '5')], '10')(response, request);
        },
        failure(500, 'InternalError'),
        list([node('a', '20')], '30'),
      )
      .on(WATCH, watch([], 'silence'));
    const reflector = startReflector();
    await eventually('the first list', () => server.seen(LIST).length === 1);
    await delay(20);
    const fresh = reflector.fresh(0, AbortSignal.timeout(8_000));
    slow.resolve(undefined);
    await fresh;
    expect(reflector.get('a')?.version).toBe('20');
    expect(server.seen(LIST)).toHaveLength(3);
  });

  it('waits for a young cache no longer than its signal', async () => {
    server.on(LIST, list([], '10'), failure(500, 'InternalError')).on(WATCH, watch([], 'silence'));
    const reflector = startReflector();
    await reflector.synced(AbortSignal.timeout(8_000));
    await delay(20);
    await expect(reflector.fresh(10, AbortSignal.timeout(100))).rejects.toThrow(/timeout/);
  });

  it('keeps trying when the first lists fail', async () => {
    server
      .on(
        LIST,
        failure(500, 'InternalError'),
        failure(500, 'InternalError'),
        list([node('a', '1')], '1'),
      )
      .on(WATCH, watch([], 'silence'));
    const reflector = startReflector();
    expect(reflector.isSynced).toBe(false);
    await reflector.synced(AbortSignal.timeout(8_000));
    expect(reflector.get('a')?.version).toBe('1');
    expect(reflector.stats.errors).toBe(2);
  });

  it.each([429, 503])(
    'waits as long as Retry-After says when a watch gets %i, and resumes without a list',
    async (code) => {
      server
        .on(LIST, list([], '1'))
        .on(
          WATCH,
          failure(code, 'Busy', 'busy', { retryAfter: 1 }),
          watch([added(node('a', '2'))], 'silence'),
        );
      startReflector();
      await eventually('the second watch', () => changes.includes('+a@2'));
      const [first, second] = server.seen(WATCH);
      expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThanOrEqual(990);
      expect(server.seen(LIST)).toHaveLength(1);
    },
  );

  it('resumes at the last event when the connection is cut', async () => {
    server
      .on(LIST, list([], '1'))
      .on(
        WATCH,
        watch([added(node('a', '7'))], 'reset'),
        watch([added(node('b', '8'))], 'silence'),
      );
    startReflector();
    await eventually('b', () => changes.includes('+b@8'));
    expect(server.seen(WATCH)[1]?.query.get('resourceVersion')).toBe('7');
    expect(server.seen(LIST)).toHaveLength(1);
  });

  it.each([
    ['by status', failure(410, 'Expired', 'too old resource version')],
    ['inside the stream', watch([errorEvent(410, 'Expired')], 'end')],
  ])('lists again when history is gone (410 %s) and tells what was missed', async (_, gone) => {
    server
      .on(LIST, list([node('a', '1'), node('b', '1')], '1'), list([node('b', '9')], '20'))
      .on(WATCH, gone, watch([], 'silence'));
    startReflector();
    await eventually('the second list', () => changes.includes('-a'));
    expect(changes).toEqual(['+a@1', '+b@1', '-a', 'b@1→9']);
    await eventually('the second watch', () => server.seen(WATCH).length === 2);
    expect(server.seen(WATCH)[1]?.query.get('resourceVersion')).toBe('20');
  });

  it('counts an error inside the stream and resumes', async () => {
    server
      .on(LIST, list([], '1'))
      .on(
        WATCH,
        watch([bookmark('4'), errorEvent(500, 'InternalError')], 'end'),
        watch([added(node('a', '5'))], 'silence'),
      );
    const reflector = startReflector();
    await eventually('a', () => changes.includes('+a@5'));
    expect(reflector.stats.errors).toBe(1);
    expect(server.seen(WATCH)[1]?.query.get('resourceVersion')).toBe('4');
  });

  it('calls a server that closes at once at a bounded rate', async () => {
    server.on(LIST, list([], '1')).on(WATCH, watch([], 'end'));
    startReflector();
    await delay(1_000);
    // 10, 20, 40, 80, 80 … ms with jitter down to the half: at most 28 in a second.
    expect(server.seen(WATCH).length).toBeLessThan(30);
    expect(server.seen(WATCH).length).toBeGreaterThan(2);
  });

  it('tears down a watch that is silent, and goes on at the last bookmark', async () => {
    server
      .on(LIST, list([], '1'))
      .on(WATCH, watch([bookmark('30')], 'silence'), watch([added(node('a', '31'))], 'silence'));
    const reflector = startReflector({ timing: { idleTimeoutMs: 150 } });
    await eventually('a', () => changes.includes('+a@31'));
    expect(server.seen(WATCH)[1]?.query.get('resourceVersion')).toBe('30');
    expect(reflector.stats.errors).toBe(1);
  });

  it('says how long nothing was heard', async () => {
    const live = new LiveWatch();
    server.on(LIST, list([], '1')).on(WATCH, live.step);
    const reflector = startReflector();
    await eventually('the watch is open', () => live.isOpen);
    await delay(60);
    expect(reflector.lastEventAgeMs()).toBeGreaterThan(50);
    live.send(bookmark('2'));
    await eventually('the bookmark', () => reflector.lastEventAgeMs() < 40);
  });

  it('tells a delete and an add when an object was made anew during an outage', async () => {
    server
      .on(LIST, list([node('a', '1', 'old')], '1'), list([node('a', '9', 'new')], '9'))
      .on(WATCH, failure(410, 'Expired'), watch([modified(node('a', '12', 'newer'))], 'silence'));
    startReflector();
    await eventually('the newest', () => changes.includes('+a@12'));
    expect(changes).toEqual(['+a@1', '-a', '+a@9', '-a', '+a@12']);
  });

  it('tells nothing when a list brings what is known', async () => {
    server
      .on(LIST, list([node('a', '1')], '1'), list([node('a', '1')], '5'))
      .on(WATCH, failure(410, 'Expired'), watch([added(node('b', '6'))], 'silence'));
    startReflector();
    await eventually('b', () => changes.includes('+b@6'));
    expect(changes).toEqual(['+a@1', '+b@6']);
  });

  it('survives a handler that throws, counts it, and tells the change again', async () => {
    let faults = 2;
    server
      .on(LIST, list([node('a', '1')], '1'))
      .on(WATCH, watch([modified(node('a', '2')), added(node('b', '3'))], 'silence'));
    const reflector = startReflector({
      onChange: (change) => {
        if (change.key === 'a' && faults-- > 0) throw new Error('handler fault');
      },
    });
    await eventually('a is told', () => changes.some((change) => change.includes('a@')));
    expect(reflector.get('a')?.version).toBe('2');
    expect(reflector.stats.handlerErrors).toBe(2);
    // The version that was never taken is not shown as the one before.
    expect(changes).toEqual(['+b@3', '+a@2']);
  });

  it('tells a delete and an add also when both were missed by a handler that threw', async () => {
    let faulty = true;
    const live = new LiveWatch();
    server.on(LIST, list([node('a', '1', 'old')], '1')).on(WATCH, live.step);
    startReflector({
      onChange: (change) => {
        if (faulty && change.after?.version !== '1') throw new Error('handler fault');
      },
    });
    await eventually('the watch is open', () => live.isOpen);
    live.send(deleted(node('a', '2', 'old')), added(node('a', '3', 'new')));
    await delay(30);
    faulty = false;
    await eventually('the new one', () => changes.includes('+a@3'));
    expect(changes).toEqual(['+a@1', '-a', '+a@3']);
  });

  it('keeps the last good value of an object that the transform cannot read', async () => {
    server
      .on(LIST, list([node('a', '1'), node('bad', '1')], '1'))
      .on(WATCH, watch([modified(node('bad', '2')), modified(node('a', '3'))], 'silence'));
    const reflector = startReflector({
      transform: (raw) => {
        if (raw.metadata.name === 'bad') throw new Error('cannot read this');
        return keep(raw);
      },
    });
    await eventually('a', () => changes.includes('a@1→3'));
    expect(reflector.list()).toEqual([{ name: 'a', uid: 'uid-a', version: '3' }]);
    expect(reflector.stats.handlerErrors).toBe(2);
  });

  it('reads a list page by page', async () => {
    server
      .on(
        LIST,
        list([node('a', '1')], '10', 'token-1'),
        list([node('b', '1')], '10', 'token-2'),
        list([node('c', '1')], '10'),
      )
      .on(WATCH, watch([], 'silence'));
    const reflector = startReflector({ timing: { pageSize: 1 } });
    await reflector.synced(AbortSignal.timeout(8_000));
    expect(reflector.list().map((kept) => kept.name)).toEqual(['a', 'b', 'c']);
    expect(server.seen(LIST).map((request) => request.query.get('continue'))).toEqual([
      null,
      'token-1',
      'token-2',
    ]);
    expect(server.seen(LIST).every((request) => request.query.get('limit') === '1')).toBe(true);
  });

  it('begins a list anew, in one piece, when its pages expire', async () => {
    server
      .on(
        LIST,
        list([node('a', '1'), node('gone', '1')], '10', 'token'),
        failure(410, 'Expired', 'continue token too old'),
        list([node('a', '1'), node('b', '2')], '40'),
      )
      .on(WATCH, watch([], 'silence'));
    const reflector = startReflector({ timing: { pageSize: 2 } });
    await reflector.synced(AbortSignal.timeout(8_000));
    expect(reflector.list().map((kept) => kept.name)).toEqual(['a', 'b']);
    expect(server.seen(LIST)[2]?.query.has('limit')).toBe(false);
    await eventually('the watch', () => server.seen(WATCH).length === 1);
    expect(server.seen(WATCH)[0]?.query.get('resourceVersion')).toBe('40');
  });

  it('lists from time to time although no watch failed, and finds what no watch told', async () => {
    server.on(LIST, list([node('a', '1')], '1'), list([], '2')).on(WATCH, watch([], 'end'));
    startReflector({ timing: { relistAfterMs: 100 } });
    await eventually('the delete', () => changes.includes('-a'));
  });

  it('tries a list when watches keep failing, as after a server was restored from a backup', async () => {
    server
      .on(LIST, list([node('a', '900')], '1000'), list([node('a', '7')], '8'))
      .on(WATCH, failure(504, 'Timeout', 'Too large resource version'));
    startReflector({ timing: { relistAfterFailures: 3 } });
    await eventually('the older version', () => changes.includes('a@900→7'));
  });

  it('gives items of a list their kind, which the API server leaves out', async () => {
    const kinds: unknown[] = [];
    server.on(LIST, list([node('a', '1')], '1')).on(WATCH, watch([], 'silence'));
    const reflector = startReflector({
      transform: (raw) => {
        kinds.push([raw.apiVersion, raw.kind]);
        return keep(raw);
      },
    });
    await reflector.synced(AbortSignal.timeout(8_000));
    expect(kinds).toEqual([['v1', 'Node']]);
  });

  it('ends when its signal is aborted, at whatever it waits, and frees its connection', async () => {
    const live = new LiveWatch();
    server.on(LIST, list([], '1')).on(WATCH, live.step);
    startReflector();
    await eventually('the watch is open', () => live.isOpen);
    stop.abort();
    await running;
    await eventually('the watch is closed', () => !live.isOpen);
  });

  it('stops waiting for the first list when the waiter gives up', async () => {
    server.on(LIST, failure(500, 'InternalError'));
    const reflector = startReflector();
    await expect(reflector.synced(AbortSignal.timeout(50))).rejects.toThrow(/timeout/);
  });
});

function keep(raw: KubeObject): Kept {
  const { name, uid, resourceVersion } = raw.metadata;
  return { name, uid: uid ?? '', version: resourceVersion ?? '' };
}

function describeChange({ key, before, after }: Change<Kept>): string {
  if (before === undefined) return `+${key}@${after?.version ?? '?'}`;
  if (after === undefined) return `-${key}`;
  return `${key}@${before.version}→${after.version}`;
}
