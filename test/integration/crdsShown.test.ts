import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ApiServer } from './support/apiServer.ts';
import { manifest, startWithKinds } from './support/kinds.ts';
import { succeed } from './support/run.ts';

let api: ApiServer;

beforeAll(async () => {
  api = await startWithKinds();
});

afterAll(async () => {
  await api.stop();
});

describe('what kubectl shows', () => {
  const patchStatus = (resource: string, name: string, status: object): Promise<string> =>
    succeed(
      api.kubectl([
        ...['patch', resource, name, '--subresource=status', '--type=merge'],
        ...['-p', JSON.stringify({ status })],
      ]),
    );
  const lines = async (...args: string[]): Promise<string[][]> =>
    (await succeed(api.kubectl(args)))
      .trimEnd()
      .split('\n')
      .map((line) => line.split(/ {2,}/));

  test('of KataDeployments is version, counts, wave and age', async () => {
    await succeed(api.kubectl(['create', '-f', '-'], manifest('shown', {})));
    const nodes = {
      desired: 240,
      ready: 31,
      failed: 2,
      unsupported: 1,
      inProgress: 5,
      waiting: 202,
      removing: 0,
    };
    await patchStatus('katad', 'shown', { version: '4.1.0', nodes, wave: '2/3' });
    const [header, row] = await lines('get', 'katad', 'shown');
    expect(header?.map((cell) => cell.trim())).toEqual([
      'NAME',
      'VERSION',
      'DESIRED',
      'READY',
      'FAILED',
      'WAVE',
      'AGE',
    ]);
    expect(row?.slice(0, 6)).toEqual(['shown', '4.1.0', '240', '31', '2', '2/3']);
  });

  test('of a KataNode without a status yet is that its node is claimed', async () => {
    const spec = { deployment: 'shown', nodeUID: 'u' };
    await succeed(api.kubectl(['create', '-f', '-'], manifest('worker-0', spec, 'KataNode')));
    const [, row] = await lines('get', 'katan', 'worker-0');
    expect(row?.slice(0, 3)).toEqual(['worker-0', 'shown', 'Claimed']);
    await succeed(api.kubectl(['delete', 'katan', 'worker-0']));
  });

  test('of KataNodes is phase, versions and the reason', async () => {
    const spec = { deployment: 'shown', nodeUID: 'u' };
    await succeed(api.kubectl(['create', '-f', '-'], manifest('worker-1', spec, 'KataNode')));
    await patchStatus('katanodes', 'worker-1', {
      phase: 'RolledBack',
      revision: '7c9f8d6b5',
      engine: { name: 'containerd', version: '1.7.24', configPath: '/etc/containerd/config.toml' },
      artifacts: { version: '4.1.0', digest: 'sha256:abc' },
      kvm: { usable: true },
      kernel: '6.18.0',
      engineRestarts: 2,
      error: {
        code: 'KATA_E_HANDLERS_MISSING',
        step: 'activate',
        reason: 'HandlerMissing',
        message: 'containerd does not serve kata-fc after the change',
        remedy: 'look',
      },
    });
    const [header, row] = await lines('get', 'katan');
    expect(header?.map((cell) => cell.trim())).toEqual([
      'NAME',
      'DEPLOYMENT',
      'PHASE',
      'REVISION',
      'KATA',
      'ENGINE',
      'ENGINE-VERSION',
      'REASON',
      'AGE',
    ]);
    expect(row?.slice(0, 8)).toEqual([
      'worker-1',
      'shown',
      'RolledBack',
      '7c9f8d6b5',
      '4.1.0',
      'containerd',
      '1.7.24',
      'HandlerMissing',
    ]);
    const [, wide] = await lines('get', 'katanodes', '-o', 'wide');
    expect(wide?.slice(9)).toEqual([
      'true',
      '6.18.0',
      '2',
      'containerd does not serve kata-fc after the change',
    ]);
  });

  test('by one category is both kinds', async () => {
    const names = await succeed(api.kubectl(['get', 'kata', '-o', 'name']));
    expect(names.trimEnd().split('\n')).toEqual([
      'katadeployment.kata-operator.dev/shown',
      'katanode.kata-operator.dev/worker-1',
    ]);
  });

  test('explain tells what a field means', async () => {
    const text = await succeed(api.kubectl(['explain', 'katad.spec.rollout.maxParallel']));
    expect(text).toContain('a number or a percentage');
  });
});

test('conditions can be waited for, and merge by their type', async () => {
  const condition = {
    type: 'Available',
    status: 'True',
    observedGeneration: 1,
    lastTransitionTime: '2026-01-01T00:00:00Z',
    reason: 'AllReady',
    message: 'every node is ready',
  };
  await succeed(api.kubectl(['create', '-f', '-'], manifest('waited', {})));
  await succeed(
    api.kubectl([
      ...['patch', 'katad', 'waited', '--subresource=status', '--type=merge'],
      ...['-p', JSON.stringify({ status: { conditions: [condition] } })],
    ]),
  );
  await succeed(api.kubectl(['wait', '--for=condition=Available', 'katad/waited', '--timeout=5s']));
});
