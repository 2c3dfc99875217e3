import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { JUDGED_TARGETS } from '../fuzz/targets.ts';

const hasTomllib = ((): boolean => {
  try {
    execFileSync('python3', ['-c', 'import tomllib'], { stdio: 'ignore', timeout: 10_000 });
    return true;
  } catch {
    return false;
  }
})();
if (!hasTomllib)
  console.log('skipped: python3 with tomllib (3.11 or newer) is not on this machine');

test.skipIf(!hasTomllib).for(JUDGED_TARGETS.map((target) => ({ name: target.name, target })))(
  'another strict parser finds what was there and our tables in every edited file: $name',
  async ({ target }) => {
    // The same in every run; other seeds are the work of `npm run bench -- fuzz`.
    const seed = 20_261_121;
    const run = await target.run({ seed, inputs: 3_000, timeoutMs: 30_000 });
    expect(run.failure).toBeUndefined();
    expect(run.outcomes['same']).toBeGreaterThan(300);
  },
);
