import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FINALIZER, LABEL } from '../../../src/crds/names.ts';
import { act } from '../../../src/controller/deployment/act.ts';
import { Expectations } from '../../../src/controller/expectations.ts';
import type { Write } from '../../../src/controller/writes.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { createTransport, type Transport } from '../../../src/kube/transport.ts';
import { FakeClock } from '../kube/fakeClock.ts';
import { recordingLog, type RecordingLog } from '../kube/recordingLog.ts';
import { failure, json, ScriptedServer, type Received, type Step } from '../kube/scriptedServer.ts';
import { labelWrite } from './support/labelWrite.ts';
import { controllerRecorder } from './support/recorder.ts';

const DEPLOYMENT = '/apis/kata-operator.dev/v1alpha1/katadeployments/kata';
const NODE = '/api/v1/nodes/n1';

describe('act', () => {
  let server: ScriptedServer;
  let transport: Transport;
  let log: RecordingLog;
  let expectations: Expectations;
  const clock = new FakeClock();
  const signal = AbortSignal.timeout(10_000);

  beforeEach(async () => {
    server = await ScriptedServer.start();
    transport = createTransport(server.kubeConfig());
    log = recordingLog();
    expectations = new Expectations(() => clock.monotonicMs());
  });

  afterEach(async () => {
    await transport.close();
    await server.close();
  });

  async function perform(...writes: Write[]): Promise<void> {
    const client = new KubeClient(transport);
    const recorder = controllerRecorder(client, log, clock);
    await act({ client, recorder, expectations, nodeNamespace: 'kata-nodes', log }, writes, signal);
  }

  const bodyOf = (request: Received | undefined): unknown => JSON.parse(request?.body ?? 'null');

  it('takes a taint off only where it was seen, and of that very node', async () => {
    server.on(`PATCH ${NODE}`, json({ metadata: { name: 'n1', uid: 'u', resourceVersion: '8' } }));
    const what = { index: 1, key: 'example.com/kata', effect: 'NoSchedule' };
    await perform({ verb: 'untaint', kind: 'Node', name: 'n1', uid: 'u', seen: '7', ...what });
    expect(bodyOf(server.received[0])).toEqual([
      { op: 'test', path: '/metadata/uid', value: 'u' },
      { op: 'test', path: '/spec/taints/1/key', value: 'example.com/kata' },
      { op: 'test', path: '/spec/taints/1/effect', value: 'NoSchedule' },
      { op: 'remove', path: '/spec/taints/1' },
    ]);
    expect(expectations.isBehind(() => '7')).toBe(true);
  });

  describe('with finalizers', () => {
    const write: Write = {
      verb: 'finalizers',
      kind: 'KataDeployment',
      name: 'kata',
      uid: 'u-1',
      seen: '41',
      finalizers: ['example.com/other'],
    };

    it('puts the list in place whoever gave the one before, of this very version only', async () => {
      server.on(
        `PATCH ${DEPLOYMENT}`,
        json({ metadata: { name: 'kata', uid: 'u-1', resourceVersion: '42' } }),
      );
      await perform(write);
      const [request] = server.received;
      expect(request?.headers['content-type']).toBe('application/json-patch+json');
      expect(bodyOf(request)).toEqual([
        { op: 'test', path: '/metadata/uid', value: 'u-1' },
        { op: 'test', path: '/metadata/resourceVersion', value: '41' },
        { op: 'add', path: '/metadata/finalizers', value: ['example.com/other'] },
      ]);
      expect(expectations.isBehind(() => '41')).toBe(true);
    });

    it('fails when the object is another by now', async () => {
      server.on(`PATCH ${DEPLOYMENT}`, failure(422, 'Invalid', 'testing value failed'));
      await expect(perform({ ...write, finalizers: [FINALIZER] })).rejects.toThrow('422');
      expect(expectations.isBehind(() => '41')).toBe(false);
    });
  });

  describe('with labels of a node that others label, too', () => {
    const own = Array.from({ length: 12 }, (_, index) => `runtime.kata-operator.dev/kata-${index}`);
    const write: Write = {
      ...labelWrite({ name: 'n1', uid: 'u-1' }, [...own, LABEL.kataRuntime]),
      seen: '10',
    };
    /** As the API server says it: all fields in one long text, each in a cause of its own. */
    const conflict = (...labels: string[]): Step => {
      const fields = labels.map((label) => `.metadata.labels.${label}`);
      return failure(409, 'Conflict', `conflicts with "other": ${fields.join(', ')}`, {
        details: {
          causes: fields.map((field) => ({ reason: 'FieldManagerConflict', field, message: 'x' })),
        },
      });
    };
    const taken = json({ metadata: { name: 'n1', uid: 'u-1', resourceVersion: '11' } });
    const labelsOf = (request: Received | undefined): string[] => {
      const body = bodyOf(request) as { metadata: { labels: Record<string, string> } };
      return Object.keys(body.metadata.labels);
    };

    it('leaves the shared label to another, however many fields are named before it', async () => {
      server.on(`PATCH ${NODE}`, conflict(...own, LABEL.kataRuntime), taken);
      await perform(write);
      const [first, second] = server.received;
      expect(first?.query.get('force')).toBeNull();
      expect(second?.query.get('force')).toBe('true');
      expect(labelsOf(second)).toEqual(own);
    });

    it('takes labels of its own prefix back, and keeps the shared one that nobody contests', async () => {
      server.on(`PATCH ${NODE}`, conflict(own[0] ?? ''), taken);
      await perform(write);
      expect(labelsOf(server.received[1])).toEqual([...own, LABEL.kataRuntime]);
    });

    it('forces nothing on a node that is another by now', async () => {
      const details = { causes: [{ reason: 'FieldValueInvalid', field: 'metadata.uid' }] };
      server.on(`PATCH ${NODE}`, failure(409, 'Conflict', LABEL.kataRuntime, { details }));
      await expect(perform(write)).rejects.toThrow('409');
      expect(server.received).toHaveLength(1);
    });
  });

  describe('when a write fails', () => {
    const apply = (kind: 'KataNode' | 'Node', name: string): Write => ({
      verb: 'apply',
      manager: 'spec',
      object: { apiVersion: 'any/v1', kind, metadata: { name } },
    });
    const kataNode = (name: string): string =>
      `PATCH /apis/kata-operator.dev/v1alpha1/katanodes/${name}`;
    const node = (name: string): string => `PATCH /api/v1/nodes/${name}`;
    const done = json({ metadata: { name: 'any' } });

    it('writes nothing more about that node, everything about the others, and then fails', async () => {
      server.on(kataNode('n1'), failure(422, 'Invalid', 'denied')).on(node('n1'), done);
      server.on(kataNode('n2'), done).on(node('n2'), done);
      await expect(
        perform(
          apply('KataNode', 'n1'),
          apply('Node', 'n1'),
          apply('KataNode', 'n2'),
          apply('Node', 'n2'),
        ),
      ).rejects.toThrow('denied');
      expect(server.seen(node('n1'))).toEqual([]);
      expect(server.seen(node('n2'))).toHaveLength(1);
      expect(log.lines.map(({ message }) => message)).toEqual(['a write failed']);
    });
  });

  it('deletes the very object that was seen, where the nodes are by default', async () => {
    const path = 'DELETE /api/v1/namespaces/kata-nodes/pods/p1';
    server.on(path, json({ metadata: { name: 'p1' } }));
    await perform({ verb: 'delete', kind: 'Pod', name: 'p1', uid: 'u-1' });
    expect(bodyOf(server.seen(path)[0])).toMatchObject({ preconditions: { uid: 'u-1' } });
  });
});
