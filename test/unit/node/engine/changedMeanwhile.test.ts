import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { KataError } from '../../../../src/errors.ts';
import { againWhenChanged, orChanged } from '../../../../src/node/engine/changedMeanwhile.ts';
import { hostAt } from '../../../../src/node/host/host.ts';

const PATH = '/config.toml';
const changed = (): KataError => new KataError('KATA_E_CONFIG_CHANGED', { file: PATH });
const signal = (): AbortSignal => AbortSignal.timeout(20_000);

describe('an edit that others disturb', () => {
  test('begins anew until they rest, with what it gives back then', async () => {
    let tries = 0;
    const result = await againWhenChanged(() => {
      tries += 1;
      return tries < 3 ? Promise.reject(changed()) : Promise.resolve('done');
    }, signal());
    expect([result, tries]).toEqual(['done', 3]);
  });

  test('ends with that error when they never rest', async () => {
    let tries = 0;
    const endless = againWhenChanged(() => {
      tries += 1;
      return Promise.reject(changed());
    }, signal());
    await expect(endless).rejects.toMatchObject({ code: 'KATA_E_CONFIG_CHANGED' });
    expect(tries).toBe(5);
  });

  test('ends at once for any other reason, and when the run is to end', async () => {
    let tries = 0;
    const failing = (error: Error, abort: AbortSignal) =>
      againWhenChanged(() => {
        tries += 1;
        return Promise.reject(error);
      }, abort);
    await expect(failing(new Error('another'), signal())).rejects.toThrow('another');
    await expect(failing(changed(), AbortSignal.abort(new Error('over')))).rejects.toThrow();
    expect(tries).toBe(2);
  });
});

describe('what is wrong with a file', () => {
  async function judged(before: string, after: string): Promise<unknown> {
    const root = await mkdtemp(join(tmpdir(), 'ko-changed-'));
    onTestFinished(() => rm(root, { recursive: true }));
    await writeFile(join(root, PATH), before);
    return orChanged(hostAt(root), PATH, async () => {
      await writeFile(join(root, PATH), after);
      throw new Error('it does not parse');
    }).catch((error: unknown) => error);
  }

  test('is said of a file that is the same afterwards', async () => {
    expect(await judged('half', 'half')).toMatchObject({ message: 'it does not parse' });
  });

  test('is not said of one that somebody was just writing', async () => {
    expect(await judged('half', 'whole')).toMatchObject({ code: 'KATA_E_CONFIG_CHANGED' });
  });
});
