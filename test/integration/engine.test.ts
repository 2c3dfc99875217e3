import { createHash } from 'node:crypto';
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
  writeFile,
} from 'node:fs/promises';
import { dirname } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ENGINE_RELEASES, engineBinary } from '../../e2e/cluster/engines.ts';
import type { KataError } from '../../src/errors.ts';
import { coerceVersion } from '../../src/node/engine/discovery.ts';
import {
  checkEngineConfig,
  discoverEngine,
  type Engine,
  type EngineRecord,
  type EngineRecordStore,
  type HandlerRegistration,
  installSteps,
  removeSteps,
  servedHandlers,
} from '../../src/node/engine/index.ts';
import { execOnHost } from '../../src/node/host/exec.ts';
import { hostAt } from '../../src/node/host/host.ts';
import type { Step, StepEffect } from '../../src/node/transaction/step.ts';
import { fixturesOf, inlineFixture } from './support/engineFixtures.ts';
import { EngineProcess } from './support/engineProcess.ts';

const host = hostAt('/');
const owner = 'kata';
const signal = (): AbortSignal => AbortSignal.timeout(60_000);

const registration = (handler: string): HandlerRegistration => ({
  handler,
  shimPath: '/opt/kata/versions/0123/bin/containerd-shim-kata-v2',
  configPath: `/opt/kata/revisions/r1/${handler}/configuration.toml`,
  podAnnotations: ['io.katacontainers.config.hypervisor.default_vcpus'],
});
const KATA = [registration('kata-fc'), registration('kata-qemu')];

class MemoryStore implements EngineRecordStore {
  record: EngineRecord | undefined;
  get = (): Promise<EngineRecord | undefined> => Promise.resolve(this.record);
  set = (record: EngineRecord): Promise<void> => {
    this.record = record;
    return Promise.resolve();
  };
  clear = (): Promise<void> => {
    this.record = undefined;
    return Promise.resolve();
  };
}

/** The rule of a transaction: check, apply, verify in order; when one fails, undo what was begun, last first. */
async function run(steps: readonly Step[]): Promise<StepEffect[]> {
  const begun: Step[] = [];
  const effects: StepEffect[] = [];
  try {
    for (const step of steps) {
      if (!(await step.check(signal()))) {
        begun.unshift(step);
        effects.push(await step.apply(signal()));
      }
      await step.verify(signal());
    }
    return effects;
  } catch (error) {
    for (const step of begun) await step.undo(signal());
    throw error;
  }
}

async function failureOf(work: Promise<unknown>): Promise<KataError> {
  return work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: unknown) => error as KataError,
  );
}

const sha256 = async (path: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');

/** What the engine has of a runtime that is not ours, and of the sandbox image: it must survive everything. */
async function effective(engine: Engine): Promise<string> {
  const { stdout } = await execOnHost(
    host,
    [engine.binaryPath, '--config', engine.configPath, 'config', 'dump'],
    {
      timeoutMs: 30_000,
      signal: signal(),
    },
  );
  return stdout;
}

describe.for(ENGINE_RELEASES)('containerd %s', (release) => {
  let binary = '';
  let version = '';
  let instance: EngineProcess;

  beforeAll(async () => {
    binary = await engineBinary(release);
    const { stdout } = await execOnHost(host, [binary, '--version'], {
      timeoutMs: 20_000,
      signal: signal(),
    });
    version = coerceVersion(stdout) ?? '';
  });

  afterEach(async () => {
    await instance.destroy();
  });

  const engine = (running = true): Engine => ({
    name: 'containerd',
    version,
    configPath: instance.configPath,
    socket: instance.socket,
    binaryPath: binary,
    running,
  });

  const options = (record: EngineRecordStore): Parameters<typeof removeSteps>[0] => ({
    host,
    engine: engine(),
    owner,
    restart: 'WhenNeeded',
    record,
    restarter: instance,
    backupDirectory: `${instance.directory}/backup`,
  });

  const accepted = (release.startsWith('2') ? ([2, 3] as const) : ([2] as const)).flatMap(
    (fileVersion) => fixturesOf(fileVersion).map((fixture) => ({ ...fixture, fileVersion })),
  );

  test.for(accepted)(
    'serves the handlers with one restart, keeps what was there, and gives back the same bytes (version $fileVersion, $name)',
    async ({ text, foreign }) => {
      instance = await EngineProcess.create(binary);
      await instance.write(text(instance));
      await instance.start();
      const original = await sha256(instance.configPath);
      const before = await effective(engine());
      const store = new MemoryStore();
      await checkEngineConfig(host, engine(), signal());

      const effects = await run(installSteps({ ...options(store), registrations: KATA }));
      expect(await servedHandlers(host, engine(), signal())).toEqual(
        [...foreign, 'kata-fc', 'kata-qemu', 'runc'].toSorted(),
      );
      expect(instance.restarts).toBe(1);
      expect(effects.map(({ engineRestarts }) => engineRestarts ?? 0)).toEqual([0, 1]);
      expect((await readFile(instance.configPath, 'utf8')).startsWith(text(instance))).toBe(true);

      expect(await run(installSteps({ ...options(store), registrations: KATA }))).toEqual([]);
      expect(instance.restarts).toBe(1);

      await run(removeSteps(options(store)));
      expect(await sha256(instance.configPath)).toBe(original);
      expect(await effective(engine())).toBe(before);
      expect(await servedHandlers(host, engine(), signal())).toEqual(
        [...foreign, 'runc'].toSorted(),
      );
      expect(await readdir(dirname(instance.configPath))).toEqual(['config.toml']);
      expect(store.record).toBeUndefined();
    },
  );

  const fileVersion = release.startsWith('2') ? 3 : 2;
  const [admin] = fixturesOf(fileVersion);
  const table = (handler: string): string =>
    fileVersion === 2
      ? `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${handler}]\n`
      : `[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.${handler}]\n`;

  /** A running engine with the administrator's file. */
  async function running(text = admin?.text): Promise<MemoryStore> {
    instance = await EngineProcess.create(binary);
    await instance.write(text?.(instance) ?? '');
    await instance.start();
    return new MemoryStore();
  }

  /** Nothing of ours may be there: same bytes, no other file, no restart, same process. */
  async function expectUntouched(original: string, pid: number, store: MemoryStore): Promise<void> {
    expect(await sha256(instance.configPath)).toBe(original);
    expect(await readdir(dirname(instance.configPath))).toEqual(['config.toml']);
    expect(instance.restarts).toBe(0);
    expect(instance.pid).toBe(pid);
    expect(store.record).toBeUndefined();
    expect(await servedHandlers(host, engine(), signal())).not.toContain('kata-fc');
  }

  const badFiles: { name: string; change: (text: string) => string; code: string; says: RegExp }[] =
    [
      {
        name: 'that does not parse any more',
        change: (text) => `${text}[plugins\n`,
        code: 'KATA_E_ENGINE_CONFIG_INVALID',
        says: /config\.toml does not parse: line \d+/,
      },
      {
        name: 'with a value that containerd itself refuses',
        change: (text) => text.replace(/^root = .*$/m, 'root = 7'),
        code: 'KATA_E_ENGINE_REJECTED_CONFIG',
        says: /containerd \d+\.\d+\.\d+ refused the configuration: (?!it ended).*\S/,
      },
      {
        name: 'that defines the handler itself',
        change: (text) => `${text}${table('kata-fc')}runtime_type = "io.containerd.runc.v2"\n`,
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /runtimes\.kata-fc\] is already defined outside the block/,
      },
      {
        name: 'with a default runtime that nobody defines',
        change: (text) =>
          text.replace(/default_runtime_name = .*/, 'default_runtime_name = "gone"'),
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /default_runtime_name is "gone", which is not defined/,
      },
      {
        name: 'with an import that is not there',
        change: (text) => `imports = ["/etc/none/at/all/*.toml", "missing.toml"]\n${text}`,
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /it imports \/.*\/etc\/missing\.toml, which does not exist/,
      },
      {
        name: 'of an unknown version',
        change: (text) => text.replace(/^version = \d/m, 'version = 9'),
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /version = 9 is not one that kata-operator knows/,
      },
      {
        name: 'without a version',
        change: (text) => text.replace(/^version = .*$/m, ''),
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /it has no "version"/,
      },
    ];

  test.for(badFiles)(
    'refuses a file $name, and touches neither the file nor the engine',
    async ({ change, code, says }) => {
      const store = await running();
      await instance.write(change(await readFile(instance.configPath, 'utf8')));
      const original = await sha256(instance.configPath);
      const { pid } = instance;
      const error = await failureOf(run(installSteps({ ...options(store), registrations: KATA })));
      expect(error).toMatchObject({ code });
      expect(error.message).toMatch(says);
      await expectUntouched(original, pid, store);
    },
  );

  test('refuses a file whose parent tables are inline and names the one to rewrite', async () => {
    const store = await running((place) => inlineFixture(fileVersion, place));
    const original = await sha256(instance.configPath);
    const { pid } = instance;
    const error = await failureOf(run(installSteps({ ...options(store), registrations: KATA })));
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_CONFIG_CONFLICT' });
    expect(error.message).toMatch(
      /plugins\."io\.containerd\.[a-z0-9.]+" cannot be extended .* not inline/,
    );
    await expectUntouched(original, pid, store);
    expect(await failureOf(checkEngineConfig(host, engine(), signal()))).toMatchObject({
      code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
    });
  });

  test('restores the file and the engine when the restart fails', async () => {
    const store = await running();
    const original = await sha256(instance.configPath);
    instance.failingRestarts = 1;
    const error = await failureOf(run(installSteps({ ...options(store), registrations: KATA })));
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_RESTART' });
    expect(await sha256(instance.configPath)).toBe(original);
    expect(await servedHandlers(host, engine(), signal())).toEqual(['crun', 'runc']);
    expect(instance.restarts).toBe(2);
    expect(store.record).toBeUndefined();
    expect(await readdir('/opt/kata/state').catch(() => [])).not.toContain(
      `config.toml.${owner}.before`,
    );
  });

  test('keeps a backup and says where when the engine does not come back even with the old file', async () => {
    const store = await running();
    const original = await sha256(instance.configPath);
    instance.failingRestarts = 2;
    const error = await failureOf(run(installSteps({ ...options(store), registrations: KATA })));
    expect(error).toMatchObject({ code: 'KATA_E_ROLLBACK_FAILED' });
    expect(await sha256(instance.configPath)).toBe(original);
    expect(await sha256(String(error.parameters['backup']))).toBe(original);
    const change = store.record?.change;
    expect(change?.backup).toBe(error.parameters['backup']);
  });

  test('writes the file and waits when restarting is not allowed, and finishes without a restart of its own', async () => {
    const store = await running();
    const never = { ...options(store), restart: 'Never' as const };
    const steps = installSteps({ ...never, registrations: KATA });
    const [configuration, restart] = steps;
    await configuration?.apply(signal());
    expect(await restart?.check(signal())).toBe(false);
    expect(await failureOf(restart?.apply(signal()) ?? Promise.resolve())).toMatchObject({
      code: 'KATA_E_AWAITING_RESTART',
    });
    expect(await readFile(instance.configPath, 'utf8')).toContain('kata-fc');
    await instance.restart();
    expect(await run(installSteps({ ...never, registrations: KATA }))).toEqual([]);
    expect(await servedHandlers(host, engine(), signal())).toContain('kata-qemu');
    expect(instance.restarts).toBe(1);
  });

  test('changes handlers in place, keeps what was written below the block, and takes only its own away', async () => {
    const store = await running();
    await run(installSteps({ ...options(store), registrations: KATA }));
    const below = '# added later\n[debug]\n  level = "info"\n';
    await instance.write((await readFile(instance.configPath, 'utf8')) + below);
    const upgraded = {
      ...registration('kata-clh'),
      shimPath: '/opt/kata/versions/4567/bin/containerd-shim-kata-v2',
    };
    const effects = await run(
      installSteps({ ...options(store), registrations: [registration('kata-fc'), upgraded] }),
    );
    expect(effects[1]?.outageMs).toBeGreaterThan(0);
    expect(await servedHandlers(host, engine(), signal())).toEqual([
      'crun',
      'kata-clh',
      'kata-fc',
      'runc',
    ]);
    await run(removeSteps(options(store)));
    expect(await readFile(instance.configPath, 'utf8')).toBe((admin?.text(instance) ?? '') + below);
    expect(await servedHandlers(host, engine(), signal())).toEqual(['crun', 'runc']);
  });

  test('gives a handler its snapshotter from containerd 1.7 on, and says so before', async () => {
    const store = await running();
    const registrations = [{ ...registration('kata-fc'), snapshotter: 'native' }];
    const work = run(installSteps({ ...options(store), registrations }));
    if (release === '1.6') {
      expect(await failureOf(work)).toMatchObject({ code: 'KATA_E_ENGINE_UNSUPPORTED' });
      return;
    }
    await work;
    const dump = await effective(engine());
    expect(dump.match(/snapshotter = ['"]native['"]/g)).toHaveLength(fileVersion === 3 ? 2 : 1);
    expect(await run(installSteps({ ...options(store), registrations }))).toEqual([]);
  });

  test.for([
    { name: 'no file and no directory', text: undefined },
    { name: 'an empty file', text: '' },
    { name: 'a file of comments', text: '# nothing yet\n\n#the end' },
  ])(
    'of a stopped engine with $name, installs without a restart and leaves it as it was',
    async ({ text }) => {
      instance = await EngineProcess.create(binary);
      if (text === undefined) await rm(dirname(instance.configPath), { recursive: true });
      else await instance.write(text);
      const store = new MemoryStore();
      const stopped = { ...options(store), engine: engine(false) };
      await checkEngineConfig(host, engine(false), signal());
      await run(installSteps({ ...stopped, registrations: KATA }));
      expect(instance.restarts).toBe(0);
      expect(await effective(engine())).toContain('runtimes.kata-fc');
      expect(await effective(engine())).toMatch(/runtimes\.runc\]/);
      await run(removeSteps(stopped));
      const left = await readFile(instance.configPath, 'utf8').catch(() => undefined);
      expect(left).toBe(text);
      expect(await readdir(instance.directory)).toEqual(
        text === undefined ? ['backup'] : ['backup', 'etc'],
      );
    },
  );

  test('leaves nothing beside the file of what a killed process left there', async () => {
    const store = await running();
    const original = await sha256(instance.configPath);
    for (const name of ['candidate', 'new'])
      await writeFile(
        `${dirname(instance.configPath)}/.config.toml.kata-operator-${name}`,
        'half of it',
      );
    const [configuration] = installSteps({ ...options(store), registrations: KATA });
    await configuration?.undo(signal());
    await expectUntouched(original, instance.pid, store);
  });

  test('is undone by another process from the record alone, and keeps what others wrote in the meantime', async () => {
    const store = await running();
    const [configuration] = installSteps({ ...options(store), registrations: KATA });
    await configuration?.apply(signal());
    await instance.write(`# above\n${await readFile(instance.configPath, 'utf8')}`);
    const [again] = installSteps({ ...options(store), registrations: KATA });
    await again?.undo(signal());
    expect(await readFile(instance.configPath, 'utf8')).toBe(
      `# above\n${admin?.text(instance) ?? ''}`,
    );
    expect(instance.restarts).toBe(0);
    expect(store.record).toBeUndefined();
  });

  test('an update that is undone brings back the handlers of before', async () => {
    const store = await running();
    await run(installSteps({ ...options(store), registrations: KATA }));
    const installed = await sha256(instance.configPath);
    instance.failingRestarts = 1;
    const error = await failureOf(
      run(installSteps({ ...options(store), registrations: [registration('kata-clh')] })),
    );
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_RESTART' });
    expect(await sha256(instance.configPath)).toBe(installed);
    expect(await servedHandlers(host, engine(), signal())).toEqual([
      'crun',
      'kata-fc',
      'kata-qemu',
      'runc',
    ]);
    await run(removeSteps(options(store)));
    expect(await readFile(instance.configPath, 'utf8')).toBe(admin?.text(instance));
  });

  test('takes the block out although the engine is gone from the host', async () => {
    const store = await running();
    await run(installSteps({ ...options(store), registrations: KATA }));
    await instance.stop();
    await run(
      removeSteps({
        ...options(store),
        engine: { ...engine(false), binaryPath: '/nonexistent/containerd' },
      }),
    );
    expect(await readFile(instance.configPath, 'utf8')).toBe(admin?.text(instance));
  });

  test('keeps the version of a file that others have filled since it was made', async () => {
    instance = await EngineProcess.create(binary);
    const store = new MemoryStore();
    const stopped = { ...options(store), engine: engine(false) };
    await run(installSteps({ ...stopped, registrations: KATA }));
    await instance.write(`${await readFile(instance.configPath, 'utf8')}[debug]\nlevel = "info"\n`);
    await run(removeSteps(stopped));
    expect(await readFile(instance.configPath, 'utf8')).toBe(
      `version = ${fileVersion}\n[debug]\nlevel = "info"\n`,
    );
  });

  test('writes through a symbolic link and keeps mode and owner', async () => {
    const store = await running();
    const real = `${instance.directory}/real.toml`;
    await rename(instance.configPath, real);
    await symlink('../real.toml', instance.configPath);
    await chmod(real, 0o640);
    await chown(real, 0, 12);
    const original = await sha256(real);
    await run(installSteps({ ...options(store), registrations: KATA }));
    expect(await sha256(real)).not.toBe(original);
    const { mode, gid } = await stat(real);
    expect([mode & 0o777, gid]).toEqual([0o640, 12]);
    await run(removeSteps(options(store)));
    expect(await sha256(real)).toBe(original);
    expect(await readlink(instance.configPath)).toBe('../real.toml');
  });

  test('refuses to take back a block that somebody changed', async () => {
    const store = await running();
    await run(installSteps({ ...options(store), registrations: KATA }));
    await instance.write(
      (await readFile(instance.configPath, 'utf8')).replace('versions/0123', 'versions/9999'),
    );
    const changed = await sha256(instance.configPath);
    expect(await failureOf(run(removeSteps(options(store))))).toMatchObject({
      code: 'KATA_E_CONFIG_EDITED',
    });
    expect(await sha256(instance.configPath)).toBe(changed);
    expect(instance.restarts).toBe(1);
  });
});

describe('discovery', () => {
  let instance: EngineProcess;

  afterEach(async () => {
    await instance.destroy();
  });

  test('finds the process behind the socket: its binary, version and configuration file', async () => {
    const binary = await engineBinary('2.4');
    instance = await EngineProcess.create(binary);
    await instance.write(fixturesOf(3)[0]?.text(instance) ?? '');
    await instance.start();
    const wanted = {
      type: 'Auto' as const,
      restart: 'WhenNeeded' as const,
      socket: instance.socket,
    };
    const found = await discoverEngine(host, wanted, signal());
    expect(found).toMatchObject({
      name: 'containerd',
      configPath: instance.configPath,
      socket: instance.socket,
      binaryPath: binary,
      running: true,
    });
    expect(found.version).toMatch(/^2\.4\.\d+$/);
    const other = await failureOf(
      discoverEngine(host, { ...wanted, configPath: '/etc/other.toml' }, signal()),
    );
    expect(other).toMatchObject({ code: 'KATA_E_ENGINE_CONFIG_CONFLICT' });
    expect(other.message).toContain(`reads ${instance.configPath}`);
  });
});
