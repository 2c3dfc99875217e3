/**
 * The real program on a host in a directory, with a real containerd: its state was damaged by somebody else, or by the
 * disk. Nothing is done by guessing, and by force all of it goes.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CrashHost, type Interruption } from '../../bench/crash/host.ts';
import { snapshotOf, wrongAfterRemoval, type Snapshot } from '../../bench/crash/invariants.ts';
import { BLOCK, MACHINES, type Machine } from '../../bench/crash/machines.ts';
import { prepareTools } from '../../bench/crash/tools.ts';

let tools: Awaited<ReturnType<typeof prepareTools>>;
beforeAll(async () => {
  tools = await prepareTools();
});
afterAll(() => tools.dispose());

interface Installed {
  readonly host: CrashHost;
  readonly clean: Snapshot;
}

async function installed(machine: Machine, interruption: Interruption): Promise<Installed> {
  const host = await CrashHost.create(tools, machine);
  const clean = await snapshotOf(host.root);
  await host.kataNode(['apply'], 'r1');
  await host.kataNode(['apply'], 'r2', interruption);
  return { host, clean };
}

const MADE_FOR_DROP_IN = 'etc/crio/crio.conf.d was left over';

const cutOff = (text: string): string => text.slice(0, text.length * 0.6);

type Case = readonly [Machine, string, Interruption, (text: string) => string];
const CASES: readonly Case[] = [
  [BLOCK, 'cut off', 'none', cutOff],
  [BLOCK, 'emptied', 'none', () => ''],
  ...MACHINES.map((machine): Case => [
    machine,
    'emptied while the guard of an interrupted run stands',
    { restart: 'done' },
    () => '',
  ]),
];

describe('a state that somebody else has damaged', () => {
  test.for(
    CASES.map(([machine, how, ...rest]) => ({ name: `${machine.name}, ${how}`, machine, rest })),
  )('is refused, and taken off by force: $name', async ({ machine, rest }) => {
    const [interruption, damage] = rest;
    const { host, clean } = await installed(machine, interruption);
    try {
      const state = join(host.root, 'opt/kata/state/state.json');
      await writeFile(state, damage(await readFile(state, 'utf8')));
      const before = await snapshotOf(host.root);
      for (const command of ['apply', 'remove']) {
        const { result, code, stderr } = await host.kataNode([command], 'r2');
        expect({ command, code }).toEqual({ command, code: 2 });
        expect(result?.error).toMatchObject({
          code: 'KATA_E_STATE_UNREADABLE',
          remedy: expect.stringContaining('kata-node remove --force') as string,
        });
        expect(stderr).not.toMatch(/^\s+at /m);
      }
      expect(await snapshotOf(host.root)).toEqual(before);
      const { result, stderr } = await host.kataNode(['remove', '--force'], 'r2');
      expect(result).toMatchObject({ outcome: 'done' });
      expect(stderr).toMatch(/^State: FAILED .*cannot be read: /m);
      const wrong = wrongAfterRemoval(clean, await snapshotOf(host.root));
      // Nobody knows any more that it was made for a file of ours, and the run says so.
      const said = stderr.includes('a directory that were made for it');
      expect(wrong.filter((what) => !(said && what === MADE_FOR_DROP_IN))).toEqual([]);
      expect(Object.keys(host.engine.loaded ?? {}).filter((name) => /^kata/.test(name))).toEqual(
        [],
      );
    } finally {
      await host.dispose();
    }
  });
});
