/**
 * The power fails: the real program is killed on a disk of which everything that was not flushed is lost, at the places
 * where that hurts most, right after a name was given and before its directory was flushed.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
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
import type { DiskCall } from '../../bench/crash/shim.ts';
import { prepareTools } from '../../bench/crash/tools.ts';
import { LoopDisk } from './support/loopDisk.ts';

const PARTS = ['etc', 'opt', 'var'];
const isPossible = await LoopDisk.isPossible();

describe.skipIf(!isPossible)('a host whose power fails (this needs root and loop devices)', () => {
  let tools: Awaited<ReturnType<typeof prepareTools>>;
  let host: CrashHost;
  let clean: Snapshot;
  let upgrade: readonly DiskCall[];
  const known: Partial<Record<'r1' | 'r2', KnownState>> = {};

  beforeAll(async () => {
    tools = await prepareTools();
    host = await CrashHost.create(tools, BLOCK);
    clean = await snapshotOf(host.root);
    for (const revision of ['r1', 'r2'] as const) {
      const { result, calls } = await host.kataNode(['apply'], revision);
      expect(result?.outcome).toBe('done');
      upgrade = calls;
      known[revision] = knownState(await snapshotOf(host.root), host, revision);
      await host.keep(revision);
    }
  });
  afterAll(async () => {
    await host.dispose();
    await tools.dispose();
  });

  /** Number of the call in an undisturbed upgrade that gives something its final name. */
  function naming(pattern: RegExp): number {
    const call = upgrade.find(({ name, path }) => name === 'rename' && pattern.test(path));
    if (call === undefined) throw new Error('there is no such call');
    return call.number;
  }

  test.for([
    { name: 'its version', pattern: /versions\/\w+$/, afterCommit: true },
    { name: "a handler's configuration", pattern: /kata-fc\//, afterCommit: true },
    { name: "the engine's configuration", pattern: /containerd\//, afterCommit: true },
    { name: "the engine's configuration", pattern: /containerd\//, afterCommit: false },
  ])(
    'has the old state or the new one, whole, and the next run leads to the new one: after $name was named, when that is kept: $afterCommit',
    async ({ pattern, afterCommit }) => {
      const { r1, r2 } = known;
      if (r1 === undefined || r2 === undefined) throw new Error('a state is missing');
      const at = naming(pattern) + 1;
      await host.bringBack('r1');
      const disk = await LoopDisk.under(host.root, PARTS);
      try {
        expect((await host.kataNode(['apply'], 'r2', { at, fault: 'kill' })).killed).toBe(true);
        const canary = join(host.root, 'opt/not-flushed');
        await writeFile(canary, 'lost');
        await disk.cutPower(afterCommit);
        expect(await readFile(canary, 'utf8').catch(() => '')).toBe('');
        await rm(canary, { force: true });
        const starts = await host.reboot();
        const atOnce = await wrongAtAnyInstant(host, [r1.config, r2.config]);
        expect({ starts, atOnce }).toEqual({ starts: true, atOnce: [] });
        const { result } = await host.kataNode(['apply'], 'r2');
        expect(result).toMatchObject({ outcome: 'done' });
        expect(await wrongAfterRun(host, r2, clean)).toEqual([]);
      } finally {
        await disk.release();
      }
    },
  );
});
