import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseKataDeployment, parseKataDeploymentSpec } from '../../../src/crds/parse.ts';
import { KataError } from '../../../src/errors.ts';
import { FULL_SPEC } from './fullSpec.ts';
import { INVALID_SPECS } from './invalidSpecs.ts';

const metadata = { name: 'kata' };

function refusal(raw: unknown): KataError {
  try {
    parseKataDeployment(raw);
  } catch (error) {
    if (error instanceof KataError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('a KataDeployment is read', () => {
  test('without a spec, with every default filled in', () => {
    const { spec } = parseKataDeployment({ metadata });
    expect(spec.rollout).toMatchObject({ maxParallel: '10%', waves: ['1', '10%', '100%'] });
    expect(spec.nodes).toEqual({
      tolerations: [],
      excludeControlPlane: true,
      requireKVM: true,
      adopt: false,
    });
    expect(spec.artifacts).toEqual({});
    expect(spec.runtimes).toBeUndefined();
  });

  test('with numbers and percentages alike as strings', () => {
    const { rollout, runtimes } = parseKataDeploymentSpec({
      rollout: { maxParallel: 2, maxUnavailable: '25%', waves: [1, '50%', 100] },
      runtimes: [{ name: 'qemu', runtimeClass: { overhead: { cpu: 1, memory: '130Mi' } } }],
    });
    expect(rollout.maxParallel).toBe('2');
    expect(rollout.maxUnavailable).toBe('25%');
    expect(rollout.waves).toEqual(['1', '50%', '100']);
    expect(runtimes?.[0]?.runtimeClass.overhead).toEqual({ cpu: '1', memory: '130Mi' });
  });

  test("with Kata's own options untouched, however deep and unknown", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (raw) => {
        // As it comes over the wire.
        const config: unknown = JSON.parse(JSON.stringify(raw));
        const { runtimes } = parseKataDeploymentSpec({ runtimes: [{ name: 'qemu', config }] });
        const expected = Object.entries(config as object).filter(([key]) => key !== '__proto__');
        expect(Object.entries(runtimes?.[0]?.config ?? {})).toEqual(expected);
      }),
    );
  });

  test('to the same spec when it is read again', () => {
    const once = parseKataDeploymentSpec(FULL_SPEC);
    expect(parseKataDeploymentSpec(JSON.parse(JSON.stringify(once)))).toEqual(once);
  });

  test('with what the controller needs of its metadata', () => {
    const full = {
      name: 'kata',
      uid: 'u',
      resourceVersion: '7',
      generation: 3,
      deletionTimestamp: '2026-01-01T00:00:00Z',
      finalizers: ['kata-operator.dev/uninstall'],
      annotations: { a: 'b' },
      managedFields: [{ manager: 'kubectl' }],
    };
    expect(parseKataDeployment({ metadata: full }).metadata).toEqual({
      name: 'kata',
      uid: 'u',
      resourceVersion: '7',
      generation: 3,
      deletionTimestamp: '2026-01-01T00:00:00Z',
      finalizers: ['kata-operator.dev/uninstall'],
      annotations: { a: 'b' },
      labels: {},
    });
  });

  test('without its status when that is of a form unknown to this version', () => {
    const { status } = parseKataDeployment({ metadata, spec: {}, status: { wave: { of: 3 } } });
    expect(status).toBeUndefined();
  });
});

describe('an invalid KataDeployment', () => {
  test.each(INVALID_SPECS)(
    'with $what is refused, and $field is named',
    ({ spec, field, says }) => {
      const error = refusal({ metadata, spec });
      expect(error.code).toBe('KATA_E_SPEC_INVALID');
      // The parser names a map's value by its key, the API server by brackets around it.
      expect(error.message.replaceAll(/\.(pool|not a key)\b/g, '[$1]')).toContain(`spec.${field}`);
      if (says !== undefined) expect(error.message).toContain(says);
    },
  );

  test('is refused when it is no object at all', () => {
    expect(refusal('kata').message).toContain('object: ');
  });

  test('never shows a value, which may be a secret', () => {
    const url = 'https://user:hunter2@example.com/';
    const error = refusal({
      metadata,
      spec: { artifacts: { sources: [{ url, sha256: 'a'.repeat(64) }] } },
    });
    expect(error.message + error.remedy).not.toContain('hunter2');
  });
});
