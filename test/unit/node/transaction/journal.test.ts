import { mkdir, readFile, readdir, rmdir, stat, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { KataError } from '../../../../src/errors.ts';
import {
  isInstalled,
  prepareInstallation,
  removeInstallation,
} from '../../../../src/node/transaction/installation.ts';
import {
  EMPTY_STATE,
  STATE_FILE,
  StateFile,
  readState,
  salvageState,
} from '../../../../src/node/transaction/journal.ts';
import { planOf, snapshot, temporaryHost } from '../fixtures/host.ts';

describe('the state file', () => {
  it('is what it was told, also for the next process', async () => {
    const host = await temporaryHost();
    await prepareInstallation(host);
    const state = new StateFile(host);
    const wish = { plan: planOf() };
    const journal = await state.open('activate', 'a1', wish);
    await journal.intended('CurrentLink', { before: 'versions/1' });
    await journal.applied('CurrentLink');
    await journal.intended('EngineRestart');
    await journal.failing('EngineRestart', new KataError('KATA_E_INTERNAL', { cause: 'x' }));
    expect((await new StateFile(host).read()).transaction).toMatchObject({
      stage: 'activate',
      attempt: 'a1',
      wish,
      steps: [
        { name: 'CurrentLink', state: 'applied', intent: { before: 'versions/1' } },
        { name: 'EngineRestart', state: 'intended' },
      ],
      failure: { step: 'EngineRestart', code: 'KATA_E_INTERNAL' },
    });
    await state.conclude((present) => present);
    expect((await readState(host))?.transaction).toBeUndefined();
  });

  it('keeps the transaction of the engine while artifacts are brought', async () => {
    const host = await temporaryHost();
    await prepareInstallation(host);
    const state = new StateFile(host);
    await state.open('activate', 'a1', { plan: planOf() });
    await state.begin('stage', 'a2');
    await state.intended('Artifacts');
    expect(await state.read()).toMatchObject({
      transaction: { attempt: 'a1', steps: [] },
      staging: { attempt: 'a2', steps: [{ name: 'Artifacts', state: 'intended' }] },
    });
    await state.end();
    expect(await state.read()).toMatchObject({ transaction: { attempt: 'a1' } });
    expect((await state.read()).staging).toBeUndefined();
  });

  it('keeps every one of many changes made at once, and is readable by root alone', async () => {
    const host = await temporaryHost();
    await prepareInstallation(host);
    const journal = new StateFile(host);
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        journal.update((state) => ({ ...state, created: [...state.created, `/d${i}`] })),
      ),
    );
    expect((await journal.read()).created).toHaveLength(21);
    expect((await stat(host.at(STATE_FILE))).mode & 0o777).toBe(0o600);
    expect(await readdir(host.at('/opt/kata/state'))).toEqual(['state.json']);
  });

  it.each([
    ['', 'it is empty'],
    ['{', 'it is cut off, or not JSON'],
    ['\0'.repeat(4096), 'it is cut off, or not JSON'],
    ['{"stateVersion":2}', 'another version of kata-operator has written it'],
    ['[]', 'it is no state of kata-operator'],
    ['{"stateVersion":1,"created":[],"transaction":{"stage":"activate"}}', 'transaction.attempt: '],
  ])(
    'that somebody else wrote (%j) is an error that names it, never an empty state',
    async (content, cause) => {
      const host = await temporaryHost();
      await mkdir(host.at('/opt/kata/state'), { recursive: true });
      await writeFile(host.at(STATE_FILE), content);
      await expect(new StateFile(host).read()).rejects.toMatchObject({
        code: 'KATA_E_STATE_UNREADABLE',
        parameters: { path: STATE_FILE, cause: expect.stringContaining(cause) as string },
        remedy: expect.stringContaining('kata-node remove --force') as string,
      });
    },
  );

  it('is read although a plan or a result in it has a form that is not known any more', async () => {
    const host = await temporaryHost();
    await mkdir(host.at('/opt/kata/state'), { recursive: true });
    const active = { revision: 'r1', digest: 'd', version: '4.1.0', handlers: ['kata-fc'] };
    const other = { ...active, plan: { planVersion: 0 } };
    const state = { stateVersion: 1, created: [], active: other, latched: { resultVersion: 0 } };
    await writeFile(host.at(STATE_FILE), JSON.stringify(state));
    expect(await new StateFile(host).read()).toMatchObject({ active });
  });

  it('gives what comes before the cut of one that was cut off, and says what is lost', async () => {
    const host = await temporaryHost();
    await prepareInstallation(host);
    const state = new StateFile(host);
    await state.open('activate', 'a1', { plan: planOf() });
    expect(await salvageState(host)).toBeUndefined();
    const text = await readFile(host.at(STATE_FILE), 'utf8');
    await writeFile(host.at(STATE_FILE), text.slice(0, text.indexOf('"transaction"') + 30));
    expect(await salvageState(host)).toMatchObject({
      state: { created: ['/opt/kata'], deployment: 'kata' },
      lost: new Set([
        'engine',
        'staged',
        'overtaken',
        'active',
        'previous',
        'rolledBack',
        'staging',
        'transaction',
        'latched',
      ]),
      error: { code: 'KATA_E_STATE_UNREADABLE' },
    });
    await writeFile(host.at(STATE_FILE), text.replace('"a1"', '1'));
    expect((await salvageState(host))?.lost).toEqual(new Set(['transaction']));
  });

  it('remembers the engine edit until it is told to forget it', async () => {
    const host = await temporaryHost();
    await prepareInstallation(host);
    const store = new StateFile(host).engineRecord();
    expect(await store.get()).toBeUndefined();
    const record = {
      owner: 'kata',
      engine: {
        name: 'containerd',
        version: '2.4.2',
        configPath: '/etc/containerd/config.toml',
        socket: '/run/c.sock',
        binaryPath: '/usr/bin/containerd',
        running: true,
      },
      original: {
        path: '/etc/containerd/config.toml',
        existed: false,
        mode: 0o644,
        uid: 0,
        gid: 0,
      },
      handlers: ['kata-fc'],
    } as const;
    await store.set({ ...record, handlers: [...record.handlers] });
    expect(await new StateFile(host).engineRecord().get()).toEqual(record);
    await store.clear();
    expect(await readState(host)).toEqual({ ...EMPTY_STATE, created: ['/opt/kata'] });
  });
});

describe('/opt/kata', () => {
  it('goes again when it was made by us, together with an /opt that was', async () => {
    const host = await temporaryHost();
    await rmdir(host.at('/opt'));
    const before = await snapshot(host.root);
    await prepareInstallation(host);
    const { created } = await new StateFile(host).read();
    expect(created).toEqual(['/opt', '/opt/kata']);
    await removeInstallation(host, created);
    expect(await snapshot(host.root)).toEqual(before);
  });

  it('stays when it was there before, or when somebody has put something into it since', async () => {
    const host = await temporaryHost();
    await mkdir(host.at('/opt/kata'));
    const before = await snapshot(host.root);
    await prepareInstallation(host);
    await removeInstallation(host, (await new StateFile(host).read()).created);
    expect(await snapshot(host.root)).toEqual(before);

    const other = await temporaryHost();
    await prepareInstallation(other);
    await writeFile(other.at('/opt/kata/notes.txt'), 'mine');
    await removeInstallation(other, ['/opt/kata']);
    expect(await readdir(other.at('/opt/kata'))).toEqual(['notes.txt']);
  });

  it('is made and removed by one rename each: what an interrupted one leaves is cleaned up by the next', async () => {
    const host = await temporaryHost();
    await mkdir(host.at('/opt/.kata-operator.removed/state'), { recursive: true });
    expect(await isInstalled(host)).toBe(true);
    await prepareInstallation(host);
    expect(await readdir(host.at('/opt'))).toEqual(['kata']);
    expect(await readFile(host.at(STATE_FILE), 'utf8')).toContain('"created"');
  });
});
