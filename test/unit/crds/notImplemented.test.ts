import { describe, expect, test } from 'vitest';
import { NOT_IMPLEMENTED, notImplementedFields } from '../../../src/crds/notImplemented.ts';
import { parseKataDeploymentSpec } from '../../../src/crds/parse.ts';
import { FULL_SPEC } from './fullSpec.ts';

const fieldsOf = (spec: unknown): string[] => notImplementedFields(parseKataDeploymentSpec(spec));
const source = { url: 'https://example.com/a.tar.zst', sha256: 'a'.repeat(64) };

/** For each line of the table: a spec that sets the field, and nothing else that is unimplemented. */
const SETTING: Readonly<Record<string, unknown>> = {
  'spec.nodes.adopt': { nodes: { adopt: true } },
  'spec.nodes.startupTaint': { nodes: { startupTaint: { key: 'a' } } },
  'spec.rollout.waves': { rollout: { waves: [1, '100%'] } },
  'spec.rollout.soak': { rollout: { soak: '5m' } },
  'spec.rollout.approval': { rollout: { approval: 'PerWave' } },
  'spec.rollout.order': { rollout: { order: { first: { matchLabels: { a: 'b' } } } } },
  'spec.rollout.topologyKey': { rollout: { topologyKey: 'topology.kubernetes.io/zone' } },
  'spec.rollout.windows': { rollout: { windows: [{ schedule: '0 22 * * *', duration: '4h' }] } },
  'spec.rollout.drain.enabled': { rollout: { drain: { enabled: true } } },
  'spec.rollout.progressDeadline': { rollout: { progressDeadline: '1h' } },
  'spec.rollout.onFailure': { rollout: { onFailure: 'Leave' } },
  'spec.verify': { verify: 'Sandbox' },
  'spec.overhead': { overhead: 'Recommend' },
  'spec.uninstall.policy': { uninstall: { policy: 'Force' } },
  'spec.runtimes[].config': { runtimes: [{ name: 'qemu', config: { hypervisor: { a: 1 } } }] },
  'spec.runtimes[].extraToml': { runtimes: [{ name: 'qemu', extraToml: 'a = 1' }] },
  'spec.runtimes[].allowedAnnotations': {
    runtimes: [{ name: 'qemu', allowedAnnotations: ['io.katacontainers.config.a'] }],
  },
  'spec.runtimes[].snapshotter.provision': {
    runtimes: [{ name: 'fc', snapshotter: { provision: 'WhenNeeded' } }],
  },
  'spec.runtimes[].runtimeClass.perArchitecture': {
    runtimes: [{ name: 'qemu', runtimeClass: { perArchitecture: true } }],
  },
};

describe('fields that this version does not act on', () => {
  test.each([
    ['an empty spec', {}],
    ['the defaults written out', { rollout: { waves: [1, '10%', '100%'], soak: '60s' } }],
    ['an engine that is known', { engine: { type: 'containerd' } }],
    ['empty options', { runtimes: [{ name: 'qemu', config: {}, extraToml: '' }] }],
    ['a snapshotter by name', { runtimes: [{ name: 'fc', snapshotter: { name: 'devmapper' } }] }],
    ['a proxy', { artifacts: { proxy: { https: 'http://proxy:3128' } } }],
    ['an image', { artifacts: { image: { reference: `x@sha256:${'a'.repeat(64)}` } } }],
    [
      'credentials and certificates',
      {
        artifacts: {
          sources: [source],
          credentialsSecret: { name: 'a' },
          caConfigMap: { name: 'b' },
        },
      },
    ],
    ['mirrors', { artifacts: { sources: [{ ...source, mirrors: ['https://example.org/a'] }] } }],
    ['what is implemented', { rollout: { maxParallel: 5, failureBudget: 3, paused: true } }],
  ])('are none in %s', (_, spec) => {
    expect(fieldsOf(spec)).toEqual([]);
  });

  test.each([...NOT_IMPLEMENTED])('are %s alone, when only that is set', (path) => {
    expect(SETTING, `give the table above a line for ${path}`).toHaveProperty([path]);
    expect(fieldsOf(SETTING[path]).map((field) => field.replace(/\[\d+\]/, '[]'))).toEqual([path]);
  });

  test('are named by the number of the runtime that sets them', () => {
    expect(fieldsOf({ runtimes: [{ name: 'qemu' }, { name: 'fc', extraToml: 'a = 1' }] })).toEqual([
      'spec.runtimes[1].extraToml',
    ]);
  });

  test('are all named at once', () => {
    const named = new Set(fieldsOf(FULL_SPEC).map((field) => field.replace(/\[\d+\]/, '[]')));
    const absent = NOT_IMPLEMENTED.filter((path) => !named.has(path));
    // A spec has one kind of artifacts and one engine.
    expect(absent.filter((path) => !/artifacts\.image|engine\.type/.test(path))).toEqual([]);
  });
});
