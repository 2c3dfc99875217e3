import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENGINE_RELEASES, engineBinary } from '../../../e2e/cluster/engines.ts';
import { IMAGE_FILES } from '../../../e2e/cluster/paths.ts';
import { output } from '../../../e2e/cluster/process.ts';

describe('a real containerd', () => {
  test.each(ENGINE_RELEASES)('%s runs on this machine', async (release) => {
    const version = await output([await engineBinary(release), '--version']);
    expect(version).toContain(` ${release === '2.4' ? 'v' : ''}${release}.`);
  });

  test.each(['1.7', '2.4'] as const)(
    '%s accepts the configuration that its nodes start with',
    async (release) => {
      const engine = await engineBinary(release);
      const config = join(IMAGE_FILES, `node/config-${release}.toml`);
      const effective = await output([engine, '--config', config, 'config', 'dump']);
      expect(effective).toContain('kata-operator-e2e/pause:local');
      expect(effective).toMatch(/restrict_oom_score_adj = true/);
      expect(effective).toMatch(/disable_hugetlb_controller = true/);
    },
  );
});
