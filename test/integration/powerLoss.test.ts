/**
 * The power fails: the real program is killed on a disk of which everything that was not flushed is lost, at the places
 * where that hurts most, right after a name was given and before its directory was flushed.
 */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CrashHost } from '../../bench/crash/host.ts';
import {
  knownState,
  snapshotOf,
  wrongAfterRun,
  wrongAtAnyInstant,
  type KnownState,
  type Snapshot,
} from '../../bench/crash/invariants.ts';
import { BLOCK } from '../../bench/crash/machines.ts';
import { prepareTools } from '../../bench/crash/tools.ts';
import { LoopDisk } from './support/loopDisk.ts';

const PARTS = ['etc', 'opt', 'var'];
const isPossible = await LoopDisk.isPossible();

describe.skipIf(!isPossible)('a host whose power fails (this needs root and loop devices)', () => {
  let tools: Awaited<ReturnType<typeof prepareTools>>;
  let host: CrashHost;
  let clean: Snapshot;
  const known: Partial<Record<'r1' | 'r2', KnownState>> = {};

  beforeAll(async () => {
    tools = await prepareTools();
    host = await CrashHost.create(tools, BLOCK);
    clean = await snapshotOf(host.root);
    for (const revision of ['r1', 'r2'] as const) {
      expect((await host.kataNode(['apply'], revision)).result?.outcome).toBe('done');
      known[revision] = knownState(await snapshotOf(host.root), host, revision);
      await host.keep(revision);
    }
  });
  afterAll(async () => {
    await host.dispose();
    await tools.dispose();
  });

  /** Calls of an undisturbed upgrade that give something its final name: the version, a file of a handler, and so on. */
  async function namings(): Promise<{ readonly number: number; readonly path: string }[]> {
    await host.bringBack('r1');
    const { calls } = await host.kataNode(['apply'], 'r2');
    return calls
      .filter(({ name }) => name === 'rename')
      .filter(({ path }) => /versions\/\w+$|kata-fc\/|containerd\/|current$/.test(path));
  }

  test('has the old state or the new one, whole, and the next run leads to the new one', async () => {
    const { r1, r2 } = known;
    if (r1 === undefined || r2 === undefined) throw new Error('a state is missing');
    const points = await namings();
    expect(points).toHaveLength(4);
    for (const { number, path } of points) {
      await host.bringBack('r1');
      const disk = await LoopDisk.under(host.root, PARTS);
      try {
        const ran = await host.kataNode(['apply'], 'r2', { at: number + 1, fault: 'kill' });
        expect(ran.killed).toBe(true);
        await writeFile(join(host.root, 'opt/not-flushed'), 'lost');
        await disk.cutPower();
        expect(await readdir(join(host.root, 'opt'))).not.toContain('not-flushed');
        const starts = await host.reboot();
        const atOnce = await wrongAtAnyInstant(host, [r1.config, r2.config]);
        const { result } = await host.kataNode(['apply'], 'r2');
        const after = await wrongAfterRun(host, r2, clean);
        expect({
          path,
          starts,
          atOnce,
          outcome: result?.outcome,
          error: result?.error,
          after,
        }).toEqual({
          path,
          starts: true,
          atOnce: [],
          outcome: 'done',
          error: undefined,
          after: [],
        });
      } finally {
        await disk.release();
      }
    }
  });
});
