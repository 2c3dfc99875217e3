import {
  chmod,
  chown,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENGINE_RELEASES } from '../../e2e/cluster/engines.ts';
import { checkEngineConfig, installSteps, removeSteps } from '../../src/node/engine/index.ts';
import { fixturesOf } from './support/engineFixtures.ts';
import {
  effective,
  failureOf,
  host,
  KATA,
  MemoryStore,
  registration,
  run,
  sha256,
  signal,
  useRelease,
} from './support/engineRelease.ts';

describe.for(ENGINE_RELEASES)('containerd %s', (release) => {
  const its = useRelease(release);

  const accepted = (release.startsWith('2') ? ([2, 3] as const) : ([2] as const)).flatMap(
    (fileVersion) => fixturesOf(fileVersion).map((fixture) => ({ ...fixture, fileVersion })),
  );

  test.for(accepted)(
    'serves the handlers with one restart, keeps what was there, and gives back the same bytes (version $fileVersion, $name)',
    async ({ text, foreign }) => {
      await its.create();
      await its.instance.write(text(its.instance));
      await its.instance.start();
      const original = await sha256(its.instance.configPath);
      const before = await effective(its.engine());
      const store = new MemoryStore();
      await checkEngineConfig(host, its.engine(), signal());

      const effects = await its.install(store);
      expect(await its.served()).toEqual([...foreign, 'kata-fc', 'kata-qemu', 'runc'].toSorted());
      expect(its.instance.restarts).toBe(1);
      expect(effects.map(({ engineRestarts }) => engineRestarts ?? 0)).toEqual([0, 1]);
      expect((await readFile(its.instance.configPath, 'utf8')).startsWith(text(its.instance))).toBe(
        true,
      );

      expect(await its.install(store)).toEqual([]);
      expect(its.instance.restarts).toBe(1);

      await its.remove(store);
      expect(await sha256(its.instance.configPath)).toBe(original);
      expect(await effective(its.engine())).toBe(before);
      expect(await its.served()).toEqual([...foreign, 'runc'].toSorted());
      expect(await readdir(dirname(its.instance.configPath))).toEqual(['config.toml']);
      expect(store.record).toBeUndefined();
    },
  );

  test('writes the file and waits when restarting is not allowed, and finishes without a restart of its own', async () => {
    const store = await its.running();
    const never = { ...its.options(store), restart: 'Never' as const };
    const steps = installSteps({ ...never, registrations: KATA });
    const [configuration, restart] = steps;
    await configuration?.apply(signal());
    expect(await restart?.check(signal())).toBe(false);
    expect(await failureOf(restart?.apply(signal()) ?? Promise.resolve())).toMatchObject({
      code: 'KATA_E_AWAITING_RESTART',
    });
    expect(await readFile(its.instance.configPath, 'utf8')).toContain('kata-fc');
    await its.instance.restart();
    expect(await run(installSteps({ ...never, registrations: KATA }))).toEqual([]);
    expect(await its.served()).toContain('kata-qemu');
    expect(its.instance.restarts).toBe(1);
  });

  test('changes handlers in place, keeps what was written below the block, and takes only its own away', async () => {
    const store = await its.running();
    await its.install(store);
    const below = '# added later\n[debug]\n  level = "info"\n';
    await its.instance.write((await readFile(its.instance.configPath, 'utf8')) + below);
    const upgraded = {
      ...registration('kata-clh'),
      shimPath: '/opt/kata/versions/4567/bin/containerd-shim-kata-v2',
    };
    const effects = await its.install(store, [registration('kata-fc'), upgraded]);
    expect(effects[1]?.outageMs).toBeGreaterThan(0);
    expect(await its.served()).toEqual(['crun', 'kata-clh', 'kata-fc', 'runc']);
    await its.remove(store);
    expect(await readFile(its.instance.configPath, 'utf8')).toBe(
      its.admin.text(its.instance) + below,
    );
    expect(await its.served()).toEqual(['crun', 'runc']);
  });

  test('gives a handler its snapshotter from containerd 1.7 on, and says so before', async () => {
    const store = await its.running();
    const registrations = [{ ...registration('kata-fc'), snapshotter: 'native' }];
    const work = its.install(store, registrations);
    if (release === '1.6') {
      expect(await failureOf(work)).toMatchObject({ code: 'KATA_E_ENGINE_UNSUPPORTED' });
      return;
    }
    await work;
    const dump = await effective(its.engine());
    expect(dump.match(/snapshotter = ['"]native['"]/g)).toHaveLength(its.fileVersion === 3 ? 2 : 1);
    expect(await its.install(store, registrations)).toEqual([]);
  });

  test.for([
    { name: 'no file and no directory', text: undefined },
    { name: 'an empty file', text: '' },
    { name: 'a file of comments', text: '# nothing yet\n\n#the end' },
  ])(
    'of a stopped engine with $name, installs without a restart and leaves it as it was',
    async ({ text }) => {
      await its.create();
      if (text === undefined) await rm(dirname(its.instance.configPath), { recursive: true });
      else await its.instance.write(text);
      const store = new MemoryStore();
      const stopped = { ...its.options(store), engine: its.engine(false) };
      await checkEngineConfig(host, its.engine(false), signal());
      await run(installSteps({ ...stopped, registrations: KATA }));
      expect(its.instance.restarts).toBe(0);
      expect(await effective(its.engine())).toContain('runtimes.kata-fc');
      expect(await effective(its.engine())).toMatch(/runtimes\.runc\]/);
      await run(removeSteps(stopped));
      const left = await readFile(its.instance.configPath, 'utf8').catch(() => undefined);
      expect(left).toBe(text);
      expect(await readdir(its.instance.directory)).toEqual(
        text === undefined ? ['backup'] : ['backup', 'etc'],
      );
    },
  );

  test('takes the block out although the engine is gone from the host', async () => {
    const store = await its.running();
    await its.install(store);
    await its.instance.stop();
    await run(
      removeSteps({
        ...its.options(store),
        engine: { ...its.engine(false), binaryPath: '/nonexistent/containerd' },
      }),
    );
    expect(await readFile(its.instance.configPath, 'utf8')).toBe(its.admin.text(its.instance));
  });

  test('keeps the version of a file that others have filled since it was made', async () => {
    await its.create();
    const store = new MemoryStore();
    const stopped = { ...its.options(store), engine: its.engine(false) };
    await run(installSteps({ ...stopped, registrations: KATA }));
    await its.instance.write(
      `${await readFile(its.instance.configPath, 'utf8')}[debug]\nlevel = "info"\n`,
    );
    await run(removeSteps(stopped));
    expect(await readFile(its.instance.configPath, 'utf8')).toBe(
      `version = ${its.fileVersion}\n[debug]\nlevel = "info"\n`,
    );
  });

  test('writes through a symbolic link and keeps mode and owner', async () => {
    const store = await its.running();
    const real = `${its.instance.directory}/real.toml`;
    await rename(its.instance.configPath, real);
    await symlink('../real.toml', its.instance.configPath);
    await chmod(real, 0o640);
    await chown(real, 0, 12);
    const original = await sha256(real);
    await its.install(store);
    expect(await sha256(real)).not.toBe(original);
    const { mode, gid } = await stat(real);
    expect([mode & 0o777, gid]).toEqual([0o640, 12]);
    await its.remove(store);
    expect(await sha256(real)).toBe(original);
    expect(await readlink(its.instance.configPath)).toBe('../real.toml');
  });
});
