import { readdir } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import {
  isInstalled,
  prepareInstallation,
  removeInstallation,
} from '../../../../src/node/transaction/installation.ts';
import { readState } from '../../../../src/node/transaction/state.ts';
import { temporaryHost } from '../fixtures/host.ts';

describe('the directory of the installation', () => {
  it('is made once when several runs begin at the same instant, and goes without a trace', async () => {
    for (let round = 0; round < 20; round += 1) {
      const host = await temporaryHost();
      const before = await readdir(host.at('/opt')).catch(() => []);
      await Promise.all(Array.from({ length: 4 }, () => prepareInstallation(host)));
      expect((await readdir(host.at('/opt/kata'))).sort()).toEqual([
        'revisions',
        'state',
        'versions',
      ]);
      expect((await readdir(host.at('/opt'))).filter((name) => name.startsWith('.'))).toEqual([]);
      const { created = ['/opt/kata'] } = (await readState(host)) ?? {};
      await removeInstallation(host, created);
      expect(await isInstalled(host)).toBe(false);
      expect(await readdir(host.at('/opt')).catch(() => [])).toEqual(before);
    }
  });
});
