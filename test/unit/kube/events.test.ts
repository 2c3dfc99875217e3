import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import {
  EventRecorder,
  type EventDraft,
  type EventRecorderOptions,
} from '../../../src/kube/events.ts';
import { fenced } from '../../../src/kube/fence.ts';
import { createTransport, type Transport } from '../../../src/kube/transport.ts';
import { FakeClock } from './fakeClock.ts';
import { recordingLog, type RecordingLog } from './recordingLog.ts';
import { failure, json, ScriptedServer, type Received } from './scriptedServer.ts';

const DEFAULT_EVENTS = '/apis/events.k8s.io/v1/namespaces/default/events';

const DRAFT: EventDraft = {
  regarding: {
    apiVersion: 'kata-operator.dev/v1alpha1',
    kind: 'KataDeployment',
    name: 'kata',
    uid: 'u-1',
  },
  type: 'Warning',
  reason: 'FailureBudgetExhausted',
  action: 'Rollout',
  note: '2 of 240 nodes failed',
};

describe('EventRecorder', () => {
  let server: ScriptedServer;
  let transport: Transport;
  let clock: FakeClock;
  let log: RecordingLog;
  const signal = AbortSignal.timeout(10_000);

  beforeEach(async () => {
    server = await ScriptedServer.start();
    transport = createTransport(server.kubeConfig());
    clock = new FakeClock();
    log = recordingLog();
  });

  afterEach(async () => {
    await transport.close();
    await server.close();
  });

  function recorder(more: Partial<EventRecorderOptions> = {}): EventRecorder {
    return new EventRecorder({
      client: new KubeClient(transport),
      reportingController: 'kata-operator.dev/controller',
      reportingInstance: 'kata-operator-0',
      log,
      clock,
      ...more,
    });
  }

  /** Creates succeed; patches too, at whatever name the create chose. */
  function acceptAll(namespace = 'default'): void {
    const events = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
    server.on(`POST ${events}`, (response, request) => {
      const { metadata } = JSON.parse(request.body) as { metadata: { name: string } };
      server.on(`PATCH ${events}/${metadata.name}`, json({ metadata }));
      response.end(request.body);
    });
  }

  const written = (): string[] => server.received.map((request) => request.method);
  const bodyOf = (request: Received | undefined): unknown => JSON.parse(request?.body ?? 'null');

  it('writes a complete event, for a cluster-scoped object into the default namespace', async () => {
    acceptAll();
    await recorder().emit(DRAFT, signal);
    const event = server.seen(`POST ${DEFAULT_EVENTS}`)[0];
    expect(bodyOf(event)).toEqual({
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: {
        namespace: 'default',
        name: expect.stringMatching(/^kata\.[0-9a-f]{16}$/) as string,
      },
      eventTime: '2026-01-01T00:00:01.000000Z',
      reportingController: 'kata-operator.dev/controller',
      reportingInstance: 'kata-operator-0',
      action: 'Rollout',
      reason: 'FailureBudgetExhausted',
      regarding: DRAFT.regarding,
      note: '2 of 240 nodes failed',
      type: 'Warning',
    });
  });

  it('writes an event on a namespaced object into its namespace', async () => {
    acceptAll('kata-nodes');
    await recorder().emit(
      { ...DRAFT, regarding: { ...DRAFT.regarding, namespace: 'kata-nodes' } },
      signal,
    );
    expect(server.received[0]?.path).toContain('/namespaces/kata-nodes/');
    expect(log.lines).toEqual([]);
  });

  it('counts an event that repeats, and writes the count at once and then once a minute', async () => {
    acceptAll();
    const events = recorder();
    for (let second = 0; second <= 130; second++) {
      await events.emit(DRAFT, signal);
      clock.advance(1_000);
    }
    expect(written()).toEqual(['POST', 'PATCH', 'PATCH', 'PATCH']);
    const counts = server.received.slice(1).map((request) => bodyOf(request));
    expect(counts).toEqual([
      { series: { count: 2, lastObservedTime: '2026-01-01T00:00:02.000000Z' } },
      { series: { count: 62, lastObservedTime: '2026-01-01T00:01:02.000000Z' } },
      { series: { count: 122, lastObservedTime: '2026-01-01T00:02:02.000000Z' } },
    ]);
    expect(server.received[1]?.headers['content-type']).toBe('application/merge-patch+json');
  });

  it.each([
    ['another note', { note: '3 of 240 nodes failed' }],
    ['another reason', { reason: 'Stalled' }],
    ['another type', { type: 'Normal' as const }],
    ['an object made anew under the same name', { regarding: { ...DRAFT.regarding, uid: 'u-2' } }],
  ])('does not count %s into it', async (_, difference) => {
    acceptAll();
    const events = recorder();
    await events.emit(DRAFT, signal);
    await events.emit({ ...DRAFT, ...difference }, signal);
    expect(written()).toEqual(['POST', 'POST']);
  });

  it('begins anew when the last one is long ago', async () => {
    acceptAll();
    const events = recorder();
    await events.emit(DRAFT, signal);
    clock.advance(600_000);
    await events.emit(DRAFT, signal);
    expect(written()).toEqual(['POST', 'POST']);
  });

  it('begins anew when the API server has forgotten the event', async () => {
    server.on(`POST ${DEFAULT_EVENTS}`, (response, request) => {
      response.end(request.body);
    });
    const events = recorder();
    await events.emit(DRAFT, signal);
    await events.emit(DRAFT, signal);
    expect(written()).toEqual(['POST', 'PATCH', 'POST']);
    expect(log.lines).toEqual([]);
  });

  it('writes one event when many ask at once', async () => {
    acceptAll();
    const events = recorder();
    await Promise.all(Array.from({ length: 20 }, async () => events.emit(DRAFT, signal)));
    expect(written()).toEqual(['POST']);
  });

  it('never fails, and says so in the log', async () => {
    server.on(`POST ${DEFAULT_EVENTS}`, failure(403, 'Forbidden', 'no events for you'));
    const events = recorder();
    await events.emit(DRAFT, signal);
    expect(log.lines.map(({ level, message }) => [level, message])).toEqual([
      ['warn', 'event not written'],
    ]);
    await events.emit(DRAFT, signal);
    // Not counted into an event that does not exist.
    expect(written()).toEqual(['POST', 'POST']);
  });

  it('is silent when the lease is lost', async () => {
    acceptAll();
    await recorder({ client: fenced(new KubeClient(transport), () => false) }).emit(DRAFT, signal);
    expect(written()).toEqual([]);
    expect(log.lines).toEqual([]);
  });

  it('does not flood: of many different events on one object few are written, other objects are not affected', async () => {
    acceptAll();
    const events = recorder();
    for (let index = 0; index < 100; index++)
      await events.emit({ ...DRAFT, note: `note ${index}` }, signal);
    expect(written()).toHaveLength(25);
    clock.advance(60_000);
    await events.emit({ ...DRAFT, note: 'a minute later' }, signal);
    await events.emit({ ...DRAFT, regarding: { ...DRAFT.regarding, name: 'other' } }, signal);
    expect(written()).toHaveLength(27);
  });

  it('writes a warning however much good news came before it', async () => {
    acceptAll();
    const events = recorder();
    for (let index = 0; index < 100; index++)
      await events.emit({ ...DRAFT, type: 'Normal', note: `node ${index} is ready` }, signal);
    expect(written()).toHaveLength(25);
    await events.emit(DRAFT, signal);
    expect(written()).toHaveLength(26);
  });

  it('remembers a bounded number of series', async () => {
    acceptAll();
    const events = recorder({ limits: { maxRemembered: 3 } });
    const on = (name: string): EventDraft => ({
      ...DRAFT,
      regarding: { ...DRAFT.regarding, name },
    });
    for (const name of ['a', 'b', 'c', 'd', 'a']) await events.emit(on(name), signal);
    // The fourth made the recorder forget the first.
    expect(written()).toEqual(['POST', 'POST', 'POST', 'POST', 'POST']);
    await events.emit(on('d'), signal);
    expect(written().at(-1)).toBe('PATCH');
  });

  it('cuts a note at 1,024 bytes, between characters', async () => {
    acceptAll();
    await recorder().emit({ ...DRAFT, note: `x${'☃'.repeat(1_000)}` }, signal);
    const { note } = bodyOf(server.received[0]) as { note: string };
    expect(Buffer.byteLength(note)).toBeLessThanOrEqual(1_024);
    expect(note).toMatch(/^x☃+…$/);
  });

  it('finds a name also for an event on an object with the longest of names', async () => {
    acceptAll();
    await recorder().emit(
      { ...DRAFT, regarding: { ...DRAFT.regarding, name: 'n'.repeat(253) } },
      signal,
    );
    const { metadata } = bodyOf(server.received[0]) as { metadata: { name: string } };
    expect(metadata.name).toHaveLength(253);
  });
});
