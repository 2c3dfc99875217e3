import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FINALIZER } from '../../../src/crds/names.ts';
import { act } from '../../../src/controller/deployment/act.ts';
import { Expectations } from '../../../src/controller/expectations.ts';
import type { Write } from '../../../src/controller/writes.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { EventRecorder } from '../../../src/kube/events.ts';
import { createTransport, type Transport } from '../../../src/kube/transport.ts';
import { FakeClock } from '../kube/fakeClock.ts';
import { recordingLog, type RecordingLog } from '../kube/recordingLog.ts';
import { failure, json, ScriptedServer, type Received } from '../kube/scriptedServer.ts';

const DEPLOYMENT = '/apis/kata-operator.dev/v1alpha1/katadeployments/kata';

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
    const recorder = new EventRecorder({
      client,
      reportingController: 'kata-operator.dev/controller',
      reportingInstance: 'test',
      log,
      clock,
    });
    await act({ client, recorder, expectations, nodeNamespace: 'kata-nodes', log }, writes, signal);
  }

  const bodyOf = (request: Received | undefined): unknown => JSON.parse(request?.body ?? 'null');

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
});
