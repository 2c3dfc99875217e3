import { readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENGINE_RELEASES } from '../../e2e/cluster/engines.ts';
import { installSteps } from '../../src/node/engine/index.ts';
import {
  failureOf,
  KATA,
  registration,
  sha256,
  signal,
  useRelease,
} from './support/engineRelease.ts';

describe.for(ENGINE_RELEASES)('containerd %s', (release) => {
  const its = useRelease(release);

  test('restores the file and the engine when the restart fails', async () => {
    const store = await its.running();
    const original = await sha256(its.instance.configPath);
    its.instance.failingRestarts = 1;
    const error = await failureOf(its.install(store));
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_RESTART' });
    expect(await sha256(its.instance.configPath)).toBe(original);
    expect(await its.served()).toEqual(['crun', 'runc']);
    expect(its.instance.restarts).toBe(2);
    expect(store.record).toBeUndefined();
    expect(await readdir(`${its.instance.directory}/backup`)).toEqual([]);
  });

  test('keeps a backup and says where when the engine does not come back even with the old file', async () => {
    const store = await its.running();
    const original = await sha256(its.instance.configPath);
    its.instance.failingRestarts = 2;
    const error = await failureOf(its.install(store));
    expect(error).toMatchObject({ code: 'KATA_E_ROLLBACK_FAILED' });
    expect(await sha256(its.instance.configPath)).toBe(original);
    expect(await sha256(String(error.parameters['backup']))).toBe(original);
    const change = store.record?.change;
    expect(change?.backup).toBe(error.parameters['backup']);
  });

  test('leaves nothing beside the file of what a killed process left there', async () => {
    const store = await its.running();
    const original = await sha256(its.instance.configPath);
    for (const name of ['candidate', 'new'])
      await writeFile(
        `${dirname(its.instance.configPath)}/.config.toml.kata-operator-${name}`,
        'half of it',
      );
    const [configuration] = installSteps({ ...its.options(store), registrations: KATA });
    await configuration?.undo(signal());
    await its.expectUntouched(original, its.instance.pid, store);
  });

  test('is undone by another process from the record alone, and keeps what others wrote in the meantime', async () => {
    const store = await its.running();
    const [configuration] = installSteps({ ...its.options(store), registrations: KATA });
    await configuration?.apply(signal());
    await its.instance.write(`# above\n${await readFile(its.instance.configPath, 'utf8')}`);
    const [again] = installSteps({ ...its.options(store), registrations: KATA });
    await again?.undo(signal());
    expect(await readFile(its.instance.configPath, 'utf8')).toBe(
      `# above\n${its.admin.text(its.instance)}`,
    );
    expect(its.instance.restarts).toBe(0);
    expect(store.record).toBeUndefined();
  });

  test('an update that is undone brings back the handlers of before', async () => {
    const store = await its.running();
    await its.install(store);
    const installed = await sha256(its.instance.configPath);
    its.instance.failingRestarts = 1;
    const error = await failureOf(its.install(store, [registration('kata-clh')]));
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_RESTART' });
    expect(await sha256(its.instance.configPath)).toBe(installed);
    expect(await its.served()).toEqual(['crun', 'kata-fc', 'kata-qemu', 'runc']);
    await its.remove(store);
    expect(await readFile(its.instance.configPath, 'utf8')).toBe(its.admin.text(its.instance));
  });

  test('refuses to take back a block that somebody changed', async () => {
    const store = await its.running();
    await its.install(store);
    await its.instance.write(
      (await readFile(its.instance.configPath, 'utf8')).replace('versions/0123', 'versions/9999'),
    );
    const changed = await sha256(its.instance.configPath);
    expect(await failureOf(its.remove(store))).toMatchObject({
      code: 'KATA_E_CONFIG_EDITED',
    });
    expect(await sha256(its.instance.configPath)).toBe(changed);
    expect(its.instance.restarts).toBe(1);
  });
});
