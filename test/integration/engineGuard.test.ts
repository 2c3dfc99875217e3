import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { IMAGES } from '../../e2e/cluster/images.ts';
import {
  discoverEngine,
  installSteps,
  removeSteps,
  servedHandlers,
} from '../../src/node/engine/index.ts';
import {
  prepareInstallation,
  removeInstallation,
} from '../../src/node/transaction/installation.ts';
import { StateFile } from '../../src/node/transaction/journal.ts';
import type { Step, StepEffect } from '../../src/node/transaction/step.ts';
import { failureOf, run, signal } from './support/engineRelease.ts';
import { KATA, WANTED } from './support/guardPlan.ts';
import { SystemdHost } from './support/systemdHost.ts';

const CONFIG = '/etc/containerd/config.toml';
const VICTIM = join(import.meta.dirname, 'support/guardVictim.ts');
/** The engine refuses to start with our handlers, although its own `config dump` has accepted them. */
const TRAP = '/etc/systemd/system/containerd.service.d/trap.conf';

describe.for([
  { release: '1.7', image: IMAGES.node17 },
  { release: '2.4', image: IMAGES.node24 },
])('containerd $release under systemd', ({ image }) => {
  let machine: SystemdHost;
  let original = '';
  let units = '';
  let opt = '';
  let hasCycled = false;

  beforeAll(async () => {
    machine = await SystemdHost.start(image);
    original = await digest();
    units = await listUnits();
    opt = await machine.sh('ls -A /opt | grep -vx containerd');
  });
  afterAll(() => machine.destroy());
  afterEach(async () => {
    await disarmTrap();
    await run(await steps('remove'));
    const { created } = await new StateFile(machine.host).read();
    await removeInstallation(machine.host, created);
    expect(await digest()).toBe(original);
    expect(await machine.sh('ls -A /opt | grep -vx containerd')).toBe(opt);
    await expectNoGuard();
  });

  const digest = async (): Promise<string> =>
    createHash('sha256')
      .update(await readFile(machine.host.at(CONFIG)))
      .digest('hex');
  const listUnits = (): Promise<string> =>
    machine.sh("find /etc/systemd/system | grep -v '/containerd.service.d' | sort");
  const invocation = (): Promise<string> =>
    machine.sh('systemctl show --property InvocationID --value containerd');
  const served = async (): Promise<string[]> => {
    const engine = await discoverEngine(machine.host, WANTED, signal());
    return servedHandlers(machine.host, engine, signal());
  };

  async function steps(wish: 'install' | 'remove'): Promise<Step[]> {
    await prepareInstallation(machine.host);
    const engine = await discoverEngine(machine.host, WANTED, signal());
    const record = new StateFile(machine.host).engineRecord();
    const options = {
      host: machine.host,
      engine,
      owner: 'kata',
      restart: 'WhenNeeded',
      record,
    } as const;
    return wish === 'install'
      ? installSteps({ ...options, registrations: KATA })
      : removeSteps(options);
  }

  async function expectNoGuard(): Promise<void> {
    expect(await listUnits()).toBe(units);
    // Until the next reload systemd remembers the name of what it wanted when it started: seen with --all.
    const all = hasCycled ? '' : '--all';
    expect(
      await machine.sh(`systemctl list-units ${all} --plain --no-legend 'kata-operator*'`),
    ).toBe('');
    expect(await machine.sh('ls -d /opt/kata/state/restore 2>/dev/null')).toBe('');
  }

  async function killedAt(point: string): Promise<void> {
    const child = spawn(process.execPath, [VICTIM, machine.host.root, point], { stdio: 'inherit' });
    await once(child, 'exit');
    expect(child.signalCode).toBe('SIGKILL');
  }

  const setTrap = (): Promise<string> =>
    machine.sh(`mkdir -p $(dirname ${TRAP}) &&
      printf '[Service]\\nExecStartPre=/bin/sh -c "! grep -q kata-fc ${CONFIG}"\\n' >${TRAP} && systemctl daemon-reload`);
  /** With our handlers the engine starts, but without CRI: systemd calls it active all the same. */
  const setCriTrap = (): Promise<string> =>
    machine.sh(`mkdir -p $(dirname ${TRAP}) &&
      printf 'version = 2\\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\\n' >/etc/no-cri.toml &&
      engine=$(command -v containerd) &&
      printf '[Service]\\nExecStart=\\nExecStart=/bin/sh -c "if grep -q kata-fc ${CONFIG}; then exec %s --config /etc/no-cri.toml; else exec %s; fi"\\n' $engine $engine >${TRAP} &&
      systemctl daemon-reload`);
  const disarmTrap = (): Promise<string> =>
    machine.sh(`[ ! -e ${TRAP} ] || { rm ${TRAP}; systemctl daemon-reload; }`);

  async function until(
    what: string,
    isSo: () => Promise<boolean>,
    timeoutMs: number,
  ): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!(await isSo())) {
      if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
      await sleep(250);
    }
  }
  const guardIsGone = async (): Promise<boolean> => (await listUnits()) === units;

  test('installs with one restart, stands guarded meanwhile, and leaves nothing of the guard', async () => {
    const before = await invocation();
    let guarded = '';
    const effects: StepEffect[] = await run(
      (await steps('install')).map((step) =>
        step.name === 'EngineRestart'
          ? {
              ...step,
              apply: async (abort: AbortSignal) => {
                guarded = await machine.sh(
                  'systemctl is-active kata-operator-restore.timer; ls /opt/kata/state/restore',
                );
                return step.apply(abort);
              },
            }
          : step,
      ),
    );
    expect(guarded.split('\n')).toEqual(['active', 'restore.sh', 'saved']);
    expect(effects.reduce((sum, { engineRestarts = 0 }) => sum + engineRestarts, 0)).toBe(1);
    expect(await invocation()).not.toBe(before);
    expect(await served()).toEqual(expect.arrayContaining(['kata-fc', 'kata-qemu', 'runc']));
    await expectNoGuard();
    const after = await invocation();
    expect(await run(await steps('install'))).toEqual([]);
    expect(await invocation()).toBe(after);
  });

  test('an engine that does not start with the new file runs with the old one again within ten seconds', async () => {
    await setTrap();
    const startedAt = performance.now();
    const error = await failureOf(run(await steps('install')));
    const tookMs = performance.now() - startedAt;
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_RESTART' });
    expect(tookMs).toBeLessThan(10_000);
    expect(await digest()).toBe(original);
    expect(await served()).not.toContain('kata-fc');
    await expectNoGuard();
  });

  test('an engine that starts without CRI is seen at once, and runs with the old file again within ten seconds', async () => {
    await setCriTrap();
    const startedAt = performance.now();
    const error = await failureOf(run(await steps('install')));
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(error.message).toContain('its CRI plugin did not load');
    expect(await digest()).toBe(original);
    expect(await served()).not.toContain('kata-fc');
    await expectNoGuard();
  });

  test('killed in the middle of a restart that fails, the timer brings the old file and the engine back', async () => {
    await setTrap();
    await killedAt('in EngineRestart');
    await until('the guard has restored', guardIsGone, 90_000);
    await until(
      'the engine answers',
      async () => (await machine.sh('systemctl is-active containerd')) === 'active',
      30_000,
    );
    expect(await digest()).toBe(original);
    expect(await served()).not.toContain('kata-fc');
    await expectNoGuard();
    await disarmTrap();
    const error = await failureOf(run(await steps('install')));
    expect(error.message).toContain('kata-operator-restore.timer took it back');
    await run(await steps('install'));
    expect(await served()).toContain('kata-fc');
  }, 180_000);

  test('killed between the file and the restart, the file comes back and the engine is not restarted', async () => {
    const before = await invocation();
    await killedAt('after EngineConfiguration');
    expect(await digest()).not.toBe(original);
    await machine.sh('systemctl start kata-operator-restore.service');
    expect(await digest()).toBe(original);
    expect(await invocation()).toBe(before);
    await expectNoGuard();
  });

  test('killed after the restart, the next run confirms it without another one', async () => {
    await killedAt('after EngineRestart');
    const after = await invocation();
    expect(await machine.sh('systemctl is-active kata-operator-restore.timer')).toBe('active');
    expect(await run(await steps('install'))).toEqual([{}]);
    expect(await invocation()).toBe(after);
    expect(await served()).toContain('kata-fc');
    await expectNoGuard();
  });

  test('leaves a run alone that lives', async () => {
    const child = spawn(
      process.execPath,
      [VICTIM, machine.host.root, 'frozen after EngineConfiguration'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    await once(child.stdout, 'data');
    await machine.sh('systemctl start kata-operator-restore.service');
    expect(await digest()).not.toBe(original);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await until(
      'the lock is free',
      async () => {
        await machine.sh('systemctl start kata-operator-restore.service');
        return (await digest()) === original;
      },
      10_000,
    );
    await expectNoGuard();
  });

  test('leaves a file alone that somebody else has changed since', async () => {
    await killedAt('after EngineConfiguration');
    await machine.sh(`printf '# mine now\\n' >>${CONFIG}`);
    const theirs = await digest();
    await machine.sh('systemctl start kata-operator-restore.service');
    expect(await digest()).toBe(theirs);
    await expectNoGuard();
    await run(await steps('install'));
    await run(await steps('remove'));
    expect(await machine.sh(`tail -n 1 ${CONFIG}`)).toBe('# mine now');
    await machine.sh(`sed -i '$d' ${CONFIG}`);
  });

  test('after a power loss the engine starts with the old file, and nothing is left', async () => {
    await setTrap();
    await killedAt('in EngineRestart');
    await machine.powerCycle();
    hasCycled = true;
    expect(await digest()).toBe(original);
    expect(await served()).not.toContain('kata-fc');
    await expectNoGuard();
    await disarmTrap();
    await run(await steps('install'));
    expect(await served()).toContain('kata-fc');
  });
});
