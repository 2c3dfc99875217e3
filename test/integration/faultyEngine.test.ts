/**
 * A real containerd that is frozen, killed or restarted by somebody else in the middle of a change, that would not come
 * back with what its administrator has written meanwhile, or that is another release than before.
 */
import { readFile, readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { engineBinary } from '../../e2e/cluster/engines.ts';
import {
  checkEngineConfig,
  type EngineRecord,
  installSteps,
  removeSteps,
  servedHandlers,
} from '../../src/node/engine/index.ts';
import type { Step } from '../../src/node/transaction/step.ts';
import { fixturesOf, type Place } from './support/engineFixtures.ts';
import { EngineProcess } from './support/engineProcess.ts';
import { failureOf, host, KATA, run, sha256, signal, useRelease } from './support/engineRelease.ts';

describe.for(['1.7', '2.4'] as const)('containerd %s', (release) => {
  const its = useRelease(release);
  const config = (): Promise<string> => readFile(its.instance.configPath, 'utf8');

  /** Does something just before the engine's restart is looked at. */
  const beforeRestart = (steps: readonly Step[], what: () => Promise<void>): Step[] =>
    steps.map((step) =>
      step.name === 'EngineRestart'
        ? {
            ...step,
            check: async (abort) => {
              await what();
              return step.check(abort);
            },
          }
        : step,
    );

  test('that somebody else restarts after the file has changed is not restarted once more', async () => {
    const store = await its.running();
    const steps = installSteps({ ...its.options(store), registrations: KATA });
    await run(beforeRestart(steps, () => its.instance.restart()));
    expect(its.instance.restarts).toBe(1);
    expect(await its.served()).toEqual(expect.arrayContaining(['kata-fc', 'kata-qemu', 'crun']));
  });

  test('that is killed after the file has changed is started with it', async () => {
    const store = await its.running();
    const steps = installSteps({ ...its.options(store), registrations: KATA });
    await run(beforeRestart(steps, () => its.instance.stop()));
    expect(its.instance.restarts).toBe(1);
    expect(await its.served()).toEqual(expect.arrayContaining(['kata-fc', 'kata-qemu', 'crun']));
  });

  test('whose file somebody edits while we do keeps what they wrote: beside ours, or without it when they never rest', async () => {
    const store = await its.running();
    const original = await config();
    const { pid } = its.instance;
    let edits = 0;
    let editsLeft = Infinity;
    const set = store.set;
    store.set = async (record: EngineRecord) => {
      await set(record);
      if (editsLeft === 0) return;
      editsLeft -= 1;
      edits += 1;
      await its.instance.write(`${original}# theirs, ${edits}\n`);
    };
    expect(await failureOf(its.install(store))).toMatchObject({ code: 'KATA_E_CONFIG_CHANGED' });
    expect(await config()).toBe(`${original}# theirs, ${edits}\n`);
    expect([its.instance.pid, its.instance.restarts]).toEqual([pid, 0]);

    editsLeft = 1;
    await its.install(store);
    const theirs = `${original}# theirs, ${edits}\n`;
    expect((await config()).startsWith(theirs)).toBe(true);
    expect(await its.served()).toContain('kata-fc');
    await its.remove(store);
    expect(await config()).toBe(theirs);
  });

  test.for([
    {
      name: 'its CRI plugin turned off',
      change: (text: string) => `disabled_plugins = ["io.containerd.grpc.v1.cri"]\n${text}`,
      says: /disabled_plugins holds/,
    },
    {
      name: 'a snapshotter that it does not have',
      change: (text: string) =>
        text.replace(
          /(\[plugins\.'io\.containerd\.grpc\.v1\.cri'\.containerd\]|\[plugins\.'io\.containerd\.cri\.v1\.images'\.registry\])/,
          (table) =>
            release === '1.7'
              ? `${table}\nsnapshotter = "gone"`
              : `[plugins.'io.containerd.cri.v1.images']\nsnapshotter = "gone"\n${table}`,
        ),
      says: /snapshotter/,
    },
  ])(
    'that runs, and would come back without CRI because its file has $name, is not restarted',
    async ({ change, says }) => {
      const store = await its.running();
      await its.instance.write(change(await config()));
      const original = await sha256(its.instance.configPath);
      const { pid } = its.instance;
      const checked = await failureOf(checkEngineConfig(host, its.engine(), signal()));
      expect(checked.message).toMatch(says);
      const error = await failureOf(its.install(store));
      expect(error).toMatchObject({ code: 'KATA_E_ENGINE_CONFIG_CONFLICT' });
      await its.expectUntouched(original, pid, store);
    },
  );

  test('that imports a pattern in a directory which is missing is served by a block, and gets its bytes back', async () => {
    const importing = (place: Place): string =>
      `imports = ["${place.directory}/none/*.toml"]\n${its.admin.text(place)}`;
    const store = await its.running(importing);
    await its.install(store);
    expect(await its.served()).toContain('kata-fc');
    await its.remove(store);
    expect(await config()).toBe(importing(its.instance));
    expect(await readdir(dirname(its.instance.configPath))).toEqual(['config.toml']);
  });
});

describe('containerd 1.7 with our handlers, which becomes 2.4', () => {
  const its = useRelease('1.7');

  test('keeps them, takes further ones after one restart, and gets its bytes back', async () => {
    const store = await its.running();
    await its.install(store, KATA.slice(0, 1));
    await its.instance.stop();
    const later = new EngineProcess(await engineBinary('2.4'), its.instance.directory);
    its.instance = later;
    await later.start();
    const engine = { ...its.engine(), binaryPath: await engineBinary('2.4'), version: '2.4.2' };
    const options = { ...its.options(store), engine };
    expect(await run(installSteps({ ...options, registrations: KATA.slice(0, 1) }))).toEqual([]);
    expect(await servedHandlers(host, engine, signal())).toContain('kata-fc');
    await run(installSteps({ ...options, registrations: KATA }));
    expect(later.restarts).toBe(1);
    expect(await servedHandlers(host, engine, signal())).toContain('kata-qemu');
    await run(removeSteps(options));
    expect(await readFile(later.configPath, 'utf8')).toBe(fixturesOf(2)[0]?.text(later));
  });
});

describe('containerd 2.4', () => {
  const its = useRelease('2.4');

  test('that is frozen is left alone within seconds, and nothing is written', async () => {
    const store = await its.running();
    const original = await sha256(its.instance.configPath);
    const { pid } = its.instance;
    process.kill(pid, 'SIGSTOP');
    const startedAt = performance.now();
    const checked = failureOf(checkEngineConfig(host, its.engine(), signal()));
    const error = await failureOf(its.install(store));
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_NOT_FOUND' });
    expect(await checked).toMatchObject({ code: 'KATA_E_ENGINE_NOT_FOUND' });
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    process.kill(pid, 'SIGCONT');
    await its.expectUntouched(original, pid, store);
  });
});
