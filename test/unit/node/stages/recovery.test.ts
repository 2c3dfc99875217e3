import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { configurationStep } from '../../../../src/node/configuration/steps.ts';
import type { Host } from '../../../../src/node/host/host.ts';
import { activate } from '../../../../src/node/stages/activate.ts';
import type { StageContext } from '../../../../src/node/stages/context.ts';
import { remove } from '../../../../src/node/stages/remove.ts';
import { StateFile, readState } from '../../../../src/node/transaction/journal.ts';
import type { Transaction } from '../../../../src/node/transaction/state.ts';
import type { FileEngine } from '../fixtures/host.ts';
import { FC, planOf, installedHost, snapshot } from '../fixtures/host.ts';

const CONFIGURATION = '/opt/kata/revisions/r1/kata-fc/configuration.toml';
const OTHER = '/opt/kata/revisions/r1/kata-new/configuration.toml';

/** A host with r1 active, on which a process died while it put other files in place. */
async function interrupted(): Promise<{ context: StageContext; engine: FileEngine }> {
  const { context, engine } = await installedHost();
  const state = new StateFile(context.host);
  const { active } = await state.read();
  if (active === undefined) throw new Error('nothing is active');
  const { handlers: _handlers, plan: _plan, ...installed } = active;
  const journal = await state.open('activate', 'dead', {
    plan: planOf({ revision: 'r1', requireKVM: true }),
    activation: { installed, registrations: [] },
  });
  const files = [CONFIGURATION, OTHER].map((path) => ({ path, content: 'half', mode: 0o600 }));
  const step = configurationStep(context.host, {
    directories: ['/opt/kata/revisions/r1/kata-new'],
    files,
    registrations: [],
  });
  const { signal } = context;
  await journal.intended(step.name, await step.intent?.(signal));
  await step.apply(signal);
  expect(await readFile(context.host.at(CONFIGURATION), 'utf8')).toBe('half');
  return { context: { ...context, attempt: 'next' }, engine };
}

/** Changes what the process that died has written down. */
async function rewriteJournal(
  host: Host,
  change: (transaction: Transaction) => Partial<Transaction>,
): Promise<void> {
  await new StateFile(host).update(({ transaction, ...present }) =>
    transaction === undefined
      ? present
      : { ...present, transaction: { ...transaction, ...change(transaction) } },
  );
}

describe('the run after an interrupted one', () => {
  it('takes back what that one wrote down, bytes and mode and absence, before it does anything', async () => {
    const { context, engine } = await interrupted();
    const seen: string[] = [];
    const { result } = await activate({
      ...context,
      observe: (step, event) => seen.push(`${step} ${event}`),
    });
    expect(result).toMatchObject({ outcome: 'done', engineRestarts: 0 });
    expect(seen.slice(1, 3)).toEqual(['KataConfiguration undone', 'Recovery changed']);
    expect(await readFile(context.host.at(CONFIGURATION), 'utf8')).toContain('firecracker');
    const files = Object.keys(await snapshot(context.host.at('/opt/kata')));
    expect(files.filter((path) => /kata-new|undo/.test(path))).toEqual([]);
    expect((await readState(context.host))?.transaction).toBeUndefined();
    expect(engine.restarts).toBe(1);
  });

  it('leaves the record alone when it belongs to another KataDeployment', async () => {
    const { context } = await interrupted();
    const { result } = await activate({ ...context, plan: planOf({ deployment: 'other' }) });
    expect(result).toMatchObject({ outcome: 'refused', error: { code: 'KATA_E_NODE_CONFLICT' } });
    expect((await readState(context.host))?.transaction).toMatchObject({ attempt: 'dead' });
  });

  it('needs a person when that cannot be taken back, and tells why; remove goes on all the same', async () => {
    const { context } = await interrupted();
    await rewriteJournal(context.host, ({ steps }) => ({
      steps: steps.map((step) => ({ ...step, intent: 'garbage' })),
    }));
    expect((await activate(context)).result).toMatchObject({
      outcome: 'failed',
      error: { code: 'KATA_E_RECOVERY', step: 'Recovery' },
    });
    expect(await remove(context)).toMatchObject({ outcome: 'done' });
    expect(await snapshot(context.host.at('/opt'))).toEqual({});
  });
});

describe('a transaction that failed and was cut short while it was taken back', () => {
  it('is taken back to the end, and its attempt gets the answer that it would have got', async () => {
    const { context } = await interrupted();
    const failure = {
      code: 'KATA_E_ENGINE_RESTART',
      step: 'EngineRestart',
      reason: 'EngineRestartFailed',
      message: 'it did not come back',
      remedy: 'look',
    };
    await rewriteJournal(context.host, () => ({ failure }));
    const { result } = await activate({ ...context, attempt: 'dead' });
    expect(result).toMatchObject({
      outcome: 'rolledBack',
      error: { code: 'KATA_E_ENGINE_RESTART', message: 'it did not come back' },
    });
    expect(await readFile(context.host.at(CONFIGURATION), 'utf8')).toContain('firecracker');
  });
});

describe('an activation that replaces files of the same revision', () => {
  it('puts the old ones back when it fails', async () => {
    const { context, engine } = await installedHost();
    await writeFile(context.host.at(CONFIGURATION), '# mine');
    const before = await snapshot(context.host.at('/opt/kata/revisions'));
    engine.failAt = 'EngineConfiguration';
    const failing = { ...context, attempt: 'second', plan: planOf({ runtimes: [FC] }) };
    expect((await activate(failing)).result).toMatchObject({ outcome: 'refused' });
    expect(await snapshot(context.host.at('/opt/kata/revisions'))).toEqual(before);
  });
});
