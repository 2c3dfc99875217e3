import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseKataDeployment } from '../../src/crds/parse.ts';
import { FULL_SPEC } from '../unit/crds/fullSpec.ts';
import { INVALID_SPECS } from '../unit/crds/invalidSpecs.ts';
import type { ApiServer } from './support/apiServer.ts';
import { manifest, MANIFESTS, startWithKinds } from './support/kinds.ts';
import { succeed, type Completed } from './support/run.ts';

let api: ApiServer;

beforeAll(async () => {
  api = await startWithKinds();
});

afterAll(async () => {
  await api.stop();
});

const dryRun = (object: string): Promise<Completed> =>
  api.kubectl(['create', '--dry-run=server', '-o', 'json', '-f', '-'], object);

const created = async (name: string, spec: unknown): Promise<unknown> =>
  JSON.parse(await succeed(dryRun(manifest(name, spec))));

describe('a valid KataDeployment', () => {
  test('may have no spec at all, and shows every default', async () => {
    const answer: unknown = await created('kata', undefined);
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
    const sample = join(MANIFESTS, 'samples/kataDeployment.yaml');
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

test('the definitions are small enough for a client-side apply', () => {
  for (const plural of ['katadeployments', 'katanodes']) {
    const size = readFileSync(join(MANIFESTS, `crds/${plural}.yaml`)).byteLength;
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
