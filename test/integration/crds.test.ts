import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseKataDeployment } from '../../src/crds/parse.ts';
import { FULL_SPEC } from '../unit/crds/fullSpec.ts';
import { INVALID_SPECS } from '../unit/crds/invalidSpecs.ts';
import { startApiServer, type ApiServer } from './support/apiServer.ts';
import type { Completed } from './support/run.ts';

const manifests = join(import.meta.dirname, '../../manifests');
let api: ApiServer;

beforeAll(async () => {
  api = await startApiServer();
  await succeed(api.kubectl(['apply', '-f', join(manifests, 'crds')]));
  await succeed(
    api.kubectl(['wait', '--for=condition=Established', '--timeout=20s', 'crd', '--all']),
  );
});

afterAll(async () => {
  await api.stop();
});

async function succeed(running: Promise<Completed>): Promise<string> {
  const { code, stdout, stderr } = await running;
  expect(stderr + stdout, stderr).toSatisfy(() => code === 0);
  return stdout;
}

function manifest(name: string, spec: unknown, kind = 'KataDeployment'): string {
  return JSON.stringify({
    apiVersion: 'kata-operator.dev/v1alpha1',
    kind,
    metadata: { name },
    spec,
  });
}

const dryRun = (object: string): Promise<Completed> =>
  api.kubectl(['create', '--dry-run=server', '-o', 'json', '-f', '-'], object);

const created = async (name: string, spec: unknown): Promise<unknown> =>
  JSON.parse(await succeed(dryRun(manifest(name, spec))));

test('the server starts in less than ten seconds', () => {
  expect(api.startMs).toBeLessThan(10_000);
});

describe('a valid KataDeployment', () => {
  test('may have no spec at all, and shows every default', async () => {
    const object = JSON.stringify({
      apiVersion: 'kata-operator.dev/v1alpha1',
      kind: 'KataDeployment',
      metadata: { name: 'kata' },
    });
    const answer: unknown = JSON.parse(await succeed(dryRun(object)));
    expect(answer).toMatchObject({
      spec: {
        artifacts: {},
        nodes: { excludeControlPlane: true, requireKVM: true, adopt: false, tolerations: [] },
        engine: { type: 'Auto', restart: 'WhenNeeded' },
        rollout: {
          maxParallel: '10%',
          maxUnavailable: '10%',
          waves: ['1', '10%', '100%'],
          soak: '60s',
          approval: 'Automatic',
          failureBudget: 1,
          windows: [],
          paused: false,
          drain: { enabled: false, timeout: '10m' },
          nodeTimeout: '10m',
          progressDeadline: '30m',
          onFailure: 'Rollback',
        },
        verify: 'Handlers',
        overhead: 'Fixed',
        uninstall: { policy: 'Wait', timeout: '30m' },
      },
    });
  });

  test.each([
    ['an empty spec', {}],
    ['runtimes by name only', { runtimes: [{ name: 'qemu' }, { name: 'fc' }] }],
    ['every field set', FULL_SPEC],
  ])('with %s gets the same defaults from the API server and from the parser', async (_, spec) => {
    const answer = await created('kata', spec);
    const ours = parseKataDeployment({ metadata: { name: 'kata' }, spec });
    expect(parseKataDeployment(answer).spec).toEqual(ours.spec);
    expect(withStrings(answer)).toMatchObject({ spec: withStrings(ours.spec) });
  });

  test('keeps unknown options of Kata, and what they hold', async () => {
    const config = { hypervisor: { default_vcpus: 2, deep: { list: [1, 'a'] } } };
    const answer = await created('kata', { runtimes: [{ name: 'qemu', config }] });
    expect(answer).toMatchObject({ spec: { runtimes: [{ config }] } });
    expect(parseKataDeployment(answer).spec.runtimes?.[0]?.config).toEqual(config);
  });

  test('is the sample, by a client-side apply too', async () => {
    const sample = join(manifests, 'samples/kataDeployment.yaml');
    await succeed(api.kubectl(['apply', '-f', sample]));
    await succeed(api.kubectl(['apply', '-f', sample]));
    const answer: unknown = JSON.parse(
      await succeed(api.kubectl(['get', 'katad', 'kata', '-o', 'json'])),
    );
    // What the sample writes out is what an empty spec means.
    expect(parseKataDeployment(answer).spec).toEqual(
      parseKataDeployment({ metadata: { name: 'kata' } }).spec,
    );
    await succeed(api.kubectl(['delete', 'katad', 'kata']));
  });
});

describe('an invalid KataDeployment', () => {
  test.each(INVALID_SPECS)('with $what is refused, and $field is named', async (one) => {
    const { code, stderr } = await dryRun(manifest('kata', one.spec));
    expect(code, stderr).not.toBe(0);
    expect(stderr).toContain(`spec.${one.field}`);
    if (one.says !== undefined) expect(stderr).toContain(one.says);
  });

  test.each([
    ['an unknown field', { rollout: { maxParalel: 2 } }, 'spec.rollout.maxParalel'],
    [
      'two runtimes of one name',
      { runtimes: [{ name: 'fc' }, { name: 'fc' }] },
      'spec.runtimes[1]: Duplicate value',
    ],
    [
      'the same annotation twice',
      {
        runtimes: [
          {
            name: 'fc',
            allowedAnnotations: ['io.katacontainers.config.a', 'io.katacontainers.config.a'],
          },
        ],
      },
      'spec.runtimes[0].allowedAnnotations[1]: Duplicate value',
    ],
    ['no spec but a list', [], 'spec'],
  ])('with %s is refused by the API server', async (_, spec, words) => {
    const { code, stderr } = await dryRun(manifest('kata', spec));
    expect(code, stderr).not.toBe(0);
    expect(stderr).toContain(words);
  });

  test.each(['kata.fc', 'k'.repeat(41)])('by the name %s is refused', async (name) => {
    const { code, stderr } = await dryRun(manifest(name, {}));
    expect(code, stderr).not.toBe(0);
    expect(stderr).toContain('metadata.name must have at most 40 characters and no dot');
  });

  test('is refused on update as well', async () => {
    await succeed(api.kubectl(['create', '-f', '-'], manifest('update', {})));
    const { code, stderr } = await api.kubectl([
      ...['patch', 'katad', 'update', '--type=merge'],
      ...['-p', JSON.stringify({ spec: { rollout: { soak: 'a while' } } })],
    ]);
    expect(code).not.toBe(0);
    expect(stderr).toContain('spec.rollout.soak');
    await succeed(api.kubectl(['delete', 'katad', 'update']));
  });
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

test('the status is a subresource: a write to the object leaves it alone, and the other way round', async () => {
  const object: unknown = load(manifest('split', {}));
  const withStatus = { ...(object as object), status: { wave: '1/3' } };
  await succeed(api.kubectl(['create', '-f', '-'], JSON.stringify(withStatus)));
  const read = async (): Promise<unknown> =>
    JSON.parse(await succeed(api.kubectl(['get', 'katad', 'split', '-o', 'json'])));
  expect(await read()).not.toHaveProperty('status');
  await succeed(
    api.kubectl([
      ...['patch', 'katad', 'split', '--subresource=status', '--type=merge'],
      ...['-p', JSON.stringify({ spec: { verify: 'Sandbox' }, status: { wave: '1/3' } })],
    ]),
  );
  expect(await read()).toMatchObject({
    metadata: { generation: 1 },
    spec: { verify: 'Handlers' },
    status: { wave: '1/3' },
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

test('the definitions are small enough for a client-side apply', () => {
  for (const plural of ['katadeployments', 'katanodes']) {
    const size = readFileSync(join(manifests, `crds/${plural}.yaml`)).byteLength;
    expect(size).toBeLessThan(256 * 1024);
  }
});

/** Numbers where a string is as good (int-or-string) are compared as strings. */
function withStrings(value: unknown): unknown {
  if (typeof value === 'number') return String(value);
  if (Array.isArray(value)) return value.map(withStrings);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, of]) => [key, withStrings(of)]));
}
