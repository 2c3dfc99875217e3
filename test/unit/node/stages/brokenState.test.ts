import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { KataError } from '../../../../src/errors.ts';
import { activate } from '../../../../src/node/stages/activate.ts';
import { preflight } from '../../../../src/node/stages/preflight.ts';
import { remove } from '../../../../src/node/stages/remove.ts';
import { previousPlan } from '../../../../src/node/stages/rollback.ts';
import { stage } from '../../../../src/node/stages/stage.ts';
import { readHostStatus } from '../../../../src/node/stages/status.ts';
import { STATE_FILE } from '../../../../src/node/transaction/journal.ts';
import {
  ENGINE_CONFIG,
  ORIGINAL_CONFIG,
  planOf,
  installedHost,
  type InstalledHost,
  snapshot,
} from '../fixtures/host.ts';

interface Broken extends InstalledHost {
  readonly seen: string[];
}

async function installed(): Promise<Broken> {
  const seen: string[] = [];
  const its = await installedHost({
    sandboxPatienceMs: 0,
    observe: (step, event, _ms, error) =>
      seen.push(`${step} ${event}${error === undefined ? '' : `: ${error.message}`}`),
  });
  return { ...its, context: { ...its.context, attempt: 'next' }, seen };
}

type Change = (text: string) => string;
const WAYS: readonly [string, Change][] = [
  ['emptied', () => ''],
  ['cut off', (text) => text.slice(0, text.length / 2)],
  ['full of zeros', (text) => '\0'.repeat(text.length)],
  ['no object', () => 'null'],
  ['written by another version', (text) => text.replace('"stateVersion": 1', '"stateVersion": 7')],
  [
    'left with a transaction of another form',
    (text) => text.replace(/\n\}\n$/, ',\n "transaction": {\n  "stage": "activate"\n }\n}\n'),
  ],
];

describe.each(WAYS)('a host whose state was %s', (_, change) => {
  async function broken(): Promise<Broken> {
    const its = await installed();
    const at = its.context.host.at(STATE_FILE);
    const text = await readFile(at, 'utf8');
    expect(change(text)).not.toBe(text);
    await writeFile(at, change(text));
    return its;
  }

  it('is refused by every command, with the remedy, and left as it is', async () => {
    const { context } = await broken();
    const { host } = context;
    const before = await snapshot(host.root);
    const refusal = {
      outcome: 'refused',
      error: {
        code: 'KATA_E_STATE_UNREADABLE',
        remedy: expect.stringContaining('kata-node remove --force') as string,
      },
    };
    expect(await preflight(context)).toMatchObject(refusal);
    expect(await stage(context)).toMatchObject(refusal);
    expect((await activate(context)).result).toMatchObject(refusal);
    expect(await remove(context)).toMatchObject(refusal);
    await expect(previousPlan(host)).rejects.toBeInstanceOf(KataError);
    expect(await snapshot(host.root)).toEqual(before);
    const status = await readHostStatus(host, context.engine, undefined, context.signal);
    expect(status).toMatchObject({
      phase: 'NeedsRepair',
      versions: [{ keptFor: [`${STATE_FILE} cannot be read`] }],
      next: expect.stringContaining('remove --force') as string,
    });
  });

  it('is cleaned by force, and what is not known any more is said', async () => {
    const { context, engine, before, seen } = await broken();
    expect(await remove({ ...context, force: true })).toMatchObject({ outcome: 'done' });
    expect(await snapshot(context.host.root)).toEqual(before);
    expect(engine.loaded).toEqual([]);
    expect(seen.find((line) => line.startsWith('State failed'))).toMatch(
      /state\.json.* cannot be read: .*\. (Not known any more: |All that is needed can still be read)/,
    );
  });
});

describe('removal by force', () => {
  it('works where the state is not even a file', async () => {
    const { context, before } = await installed();
    await rm(context.host.at(STATE_FILE));
    await mkdir(context.host.at(STATE_FILE));
    expect(await remove({ ...context, force: true })).toMatchObject({ outcome: 'done' });
    expect(await snapshot(context.host.root)).toEqual(before);
  });

  it('keeps to what the state still says of its owner, and of what was here before', async () => {
    const { context, seen } = await installed();
    const at = context.host.at(STATE_FILE);
    const text = await readFile(at, 'utf8');
    await writeFile(at, text.slice(0, text.indexOf('"active"')));
    const other = { ...context, plan: planOf({ deployment: 'other' }), force: true };
    expect(await remove(other)).toMatchObject({ error: { code: 'KATA_E_NODE_CONFLICT' } });
    expect(await remove({ ...context, force: true })).toMatchObject({ outcome: 'done' });
    expect(seen.filter((line) => line.includes('which directories were here before'))).toEqual([]);
  });

  const BLOCK =
    '# >>> kata-operator other >>> sha256=0 added=none\n# <<< kata-operator other <<<\n';

  it('leaves a host alone on which the engine has the block of another owner', async () => {
    const { context } = await installed();
    const { host } = context;
    await writeFile(host.at(STATE_FILE), '');
    await mkdir(host.at('/etc/containerd/conf.d'));
    await writeFile(host.at('/etc/containerd/conf.d/kata-operator-other.toml'), BLOCK);
    const before = await snapshot(host.at('/opt'));
    expect(await remove({ ...context, force: true })).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_NODE_CONFLICT', step: 'State', message: /other/ as never },
    });
    expect(await snapshot(host.at('/opt'))).toEqual(before);
  });

  it('keeps the files that a configuration names as long as there is no engine to ask', async () => {
    const { context } = await installed();
    const { host } = context;
    await writeFile(host.at(STATE_FILE), '');
    await writeFile(host.at(ENGINE_CONFIG), ORIGINAL_CONFIG + BLOCK.replaceAll('other', 'kata'));
    const gone = {
      ...context.engine,
      discoverEngine: () =>
        Promise.reject(new KataError('KATA_E_ENGINE_NOT_FOUND', { cause: 'no engine' })),
    };
    const forced = { ...context, engine: gone, force: true };
    expect(await remove(forced)).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_CONFIG_EDITED', message: /config\.toml/ as never },
    });
    expect(await readdir(host.at('/opt/kata/versions'))).toHaveLength(1);
    await writeFile(host.at(ENGINE_CONFIG), ORIGINAL_CONFIG);
    expect(await remove(forced)).toMatchObject({ outcome: 'done' });
    expect(await readdir(host.at('/opt'))).toEqual([]);
  });
});
