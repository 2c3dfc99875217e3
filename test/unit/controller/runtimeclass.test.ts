import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalQuantity } from '../../../src/controller/runtimeclass/quantity.ts';
import { runtimeClassContent } from '../../../src/controller/runtimeclass/desired.ts';
import { fieldManager } from '../../../src/controller/writes.ts';
import { LABEL } from '../../../src/crds/names.ts';
import type { KubeObject } from '../../../src/kube/resource.ts';
import { World } from './support/world.ts';

describe('canonicalQuantity', () => {
  it.each([
    ['1024Mi', '1Gi'],
    ['0.5', '500m'],
    ['1', 1],
    ['1000m', '1'],
    ['1.5Gi', '1536Mi'],
    ['1e3', '1k'],
    ['12E2', '1200'],
    ['0', '0Mi'],
    ['.5', '0.5'],
    ['100n', '0.0000001'],
    ['8Ei', '9223372036854775808'],
  ])('is the same for %s and %s', (one, other) => {
    expect(canonicalQuantity(one)).toBe(canonicalQuantity(other));
  });

  it.each([
    ['1Gi', '1G'],
    ['1m', '1M'],
    ['250m', '251m'],
    ['9007199254740993', '9007199254740992'],
    ['-1', '1'],
  ])('tells %s from %s', (one, other) => {
    expect(canonicalQuantity(one)).not.toBe(canonicalQuantity(other));
  });

  it('leaves alone what is no quantity', () => {
    for (const text of ['', 'Mi', 'x', '1 Mi', '1Zi', null])
      expect(canonicalQuantity(text)).toBe(text);
  });

  it('knows a thousand milli of anything as one of it', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 10n ** 15n }), (whole) => {
        expect(canonicalQuantity(`${whole}000m`)).toBe(canonicalQuantity(String(whole)));
        expect(canonicalQuantity(`${whole * 1024n}Ki`)).toBe(canonicalQuantity(`${whole}Mi`));
      }),
    );
  });
});

describe('RuntimeClasses', () => {
  /** As the API server shows it. */
  function stored(labels: Record<string, string>, own: string[], memory: string): KubeObject {
    const metadata = {
      name: 'kata-qemu',
      labels,
      managedFields: [
        {
          manager: fieldManager('spec'),
          operation: 'Apply',
          fieldsV1: {
            'f:metadata': { 'f:labels': Object.fromEntries(own.map((key) => [`f:${key}`, {}])) },
          },
        },
        { manager: 'argocd-controller', operation: 'Update', fieldsV1: { 'f:metadata': {} } },
      ],
    };
    return { metadata, handler: 'kata-qemu', overhead: { podFixed: { cpu: '250m', memory } } };
  }

  /** Shows the class of a settled world in another form, and returns how many classes are written then. */
  function writesAfter(change: (labels: Record<string, string>) => KubeObject): number {
    const world = new World({
      runtimes: [{ name: 'qemu', runtimeClass: { overhead: { cpu: '0.25', memory: '1024Mi' } } }],
    });
    world.addNode('n1');
    world.settle();
    const view = world.runtimeClasses.get('kata-qemu');
    if (view === undefined) throw new Error('no RuntimeClass');
    const scheduling = { nodeSelector: { 'runtime.kata-operator.dev/kata-qemu': 'true' } };
    const content = runtimeClassContent({ ...change({ ...view.labels }), scheduling });
    world.runtimeClasses.set('kata-qemu', { ...view, content });
    world.writes.length = 0;
    world.reconcile();
    return world.writes.filter(
      (write) => write.verb === 'apply' && write.object.kind === 'RuntimeClass',
    ).length;
  }

  it('are not written again because the API server writes quantities its own way', () => {
    expect(writesAfter((labels) => stored(labels, Object.keys(labels), '1Gi'))).toBe(0);
  });

  it('are not written again because of a label that somebody else gave', () => {
    const own = [LABEL.managedBy, LABEL.deployment];
    const foreign = { 'argocd.argoproj.io/instance': 'platform' };
    expect(writesAfter((labels) => stored({ ...labels, ...foreign }, own, '1Gi'))).toBe(0);
  });

  it.each([
    [
      'an overhead that was changed',
      (labels: Record<string, string>) => stored(labels, Object.keys(labels), '2Gi'),
    ],
    [
      'a label of ours that is wanted no more',
      (labels: Record<string, string>) =>
        stored({ ...labels, old: 'x' }, [...Object.keys(labels), 'old'], '1Gi'),
    ],
    [
      'a label of ours that was changed',
      (labels: Record<string, string>) =>
        stored({ ...labels, [LABEL.managedBy]: 'x' }, Object.keys(labels), '1Gi'),
    ],
    [
      'labels that somebody else has taken over',
      (labels: Record<string, string>) => stored(labels, [], '1Gi'),
    ],
  ])('are written again for %s', (_, change) => {
    expect(writesAfter(change)).toBe(1);
  });
});
