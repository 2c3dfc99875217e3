import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { expect, it } from 'vitest';
import { withoutKvmCheck, withoutSoak } from '../../../e2e/operator/kvm.ts';
import { SAMPLES } from '../../../e2e/operator/operator.ts';

it('turns off the check for KVM in the sample, and nothing else', async () => {
  const sample = await readFile(join(SAMPLES, 'kataDeployment.yaml'), 'utf8');
  const before = load(sample) as { spec: { nodes: object } };
  expect(load(withoutKvmCheck(sample))).toEqual({
    ...before,
    spec: { ...before.spec, nodes: { ...before.spec.nodes, requireKVM: false } },
  });
});

it('turns off the soak of the sample, and nothing else', async () => {
  const sample = await readFile(join(SAMPLES, 'kataDeployment.yaml'), 'utf8');
  const before = load(sample) as { spec: { rollout: object } };
  expect(load(withoutSoak(sample))).toEqual({
    ...before,
    spec: { ...before.spec, rollout: { ...before.spec.rollout, soak: '0s' } },
  });
});

it('does not take another manifest for the sample', () => {
  expect(() => withoutKvmCheck('spec: {}\n')).toThrow('requireKVM');
  expect(() => withoutSoak('spec: {}\n')).toThrow('soak');
});
