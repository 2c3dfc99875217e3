import { expect, test } from 'vitest';
import { FUZZ_TARGETS } from '../../fuzz/targets.ts';

test.for(FUZZ_TARGETS.map((target) => ({ name: target.name, target })))(
  'what is written by others and damaged is refused or kept: $name',
  async ({ target }) => {
    // The same in every run; other seeds are the work of `npm run bench -- fuzz`.
    const seed = 20_261_121;
    const run = await target.run({ seed, inputs: 1_000, timeoutMs: 5_000 });
    expect(run.failure).toBeUndefined();
    expect(run.inputs).toBeGreaterThan(50);
  },
);
