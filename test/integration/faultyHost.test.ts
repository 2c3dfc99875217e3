/**
 * The stages of the node program on a host with systemd: an engine that hangs when it starts, that somebody restarts at
 * the same moment, that has no file, and paths that cannot be used.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { IMAGES } from '../../e2e/cluster/images.ts';
import * as engine from '../../src/node/engine/index.ts';
import { lockFiles } from '../../src/node/host/helper.ts';
import { activate } from '../../src/node/stages/activate.ts';
import type { StageContext } from '../../src/node/stages/context.ts';
import { preflight } from '../../src/node/stages/preflight.ts';
import { remove } from '../../src/node/stages/remove.ts';
import { stage } from '../../src/node/stages/stage.ts';
import { bundle, contextOf } from '../unit/node/fixtures/host.ts';
import { signal } from './support/engineRelease.ts';
import { SystemdHost } from './support/systemdHost.ts';

const CONFIG = '/etc/containerd/config.toml';
const DROP_IN = '/etc/systemd/system/containerd.service.d/fault.conf';
const META = '/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db';

describe('containerd under systemd', () => {
  let machine: SystemdHost;
  let context: StageContext;
  let original = '';
  let attempts = 0;

  beforeAll(async () => {
    machine = await SystemdHost.start(IMAGES.node24);
    await machine.sh(`cp -a ${CONFIG} /root/`);
    original = await digest();
  });
  beforeEach(async () => {
    attempts += 1;
    context = contextOf(machine.host, {
      engine,
      lockFiles,
      signal: signal(),
      attempt: `attempt-${attempts}`,
      bundleDirectory: await bundle(),
    });
  });
  afterEach(async () => {
    await machine.sh(`rm -f ${DROP_IN}; systemctl stop holder; systemctl daemon-reload`);
    expect(await remove({ ...context, signal: signal() })).toMatchObject({ outcome: 'done' });
    expect(await machine.sh('ls -d /opt/kata /etc/systemd/system/kata-operator*')).toBe('');
  });
  afterAll(() => machine.destroy());

  const digest = async (): Promise<string> =>
    createHash('sha256')
      .update(await readFile(machine.host.at(CONFIG)))
      .digest('hex');
  const served = async (): Promise<string[]> => {
    const found = await engine.discoverEngine(machine.host, context.plan.engine, signal());
    return engine.servedHandlers(machine.host, found, signal());
  };
  /** containerd waits for its database, which another process holds, whenever the shell's `condition` is true. */
  const hangWhen = (condition: string): Promise<string> =>
    machine.sh(`mkdir -p $(dirname ${DROP_IN}) && cat >${DROP_IN} <<'END'
[Service]
TimeoutStartSec=2
TimeoutStopSec=1
ExecStartPre=-systemctl stop holder
ExecStartPre=/bin/sh -c 'if ${condition}; then systemd-run --collect --unit=holder flock ${META} sleep 600 && sleep 0.3; fi'
END
systemctl daemon-reload`);

  test('that hangs when it starts with the new file is given up, and runs with the old one', async () => {
    await hangWhen(`grep -q kata-fc ${CONFIG}`);
    await stage(context);
    const startedAt = performance.now();
    const { result } = await activate(context);
    expect(result).toMatchObject({
      outcome: 'rolledBack',
      error: { code: 'KATA_E_ENGINE_RESTART', step: 'EngineRestart' },
    });
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    expect(await digest()).toBe(original);
    expect(await served()).not.toContain('kata-fc');
  });

  test('that hangs with the old file as well needs a person, who finds the old file in its place', async () => {
    await hangWhen('true');
    await stage(context);
    const { result } = await activate(context);
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'KATA_E_ROLLBACK_FAILED' } });
    expect(result.error?.remedy).toContain('is kept at /opt/kata/state/');
    expect(await digest()).toBe(original);
    await machine.sh(`rm ${DROP_IN}; systemctl daemon-reload; systemctl stop holder`);
    await machine.sh('systemctl restart containerd');
    const again = await activate({ ...context, attempt: 'after the repair', signal: signal() });
    expect(again.result).toMatchObject({ outcome: 'done', handlers: ['kata-fc', 'kata-qemu'] });
  });

  test('that somebody restarts at the same moment has the old file or the new one, and serves what it says', async () => {
    await stage(context);
    let theirs: Promise<string> | undefined;
    const { result } = await activate({
      ...context,
      observe: (step, event) => {
        if (step === 'EngineConfiguration' && event === 'changed')
          theirs = machine.sh('for i in 1 2 3; do systemctl restart containerd; done');
      },
    });
    await theirs;
    expect(['done', 'rolledBack']).toContain(result.outcome);
    const isNew = result.outcome === 'done';
    expect((await digest()) === original).toBe(!isNew);
    expect((await served()).includes('kata-fc')).toBe(isNew);
    const again = await activate({ ...context, attempt: 'again', signal: signal() });
    expect(again.result).toMatchObject({ outcome: 'done', handlers: ['kata-fc', 'kata-qemu'] });
  });

  test('that has no file is given one, and has none afterwards', async () => {
    await machine.sh(`rm ${CONFIG}; systemctl restart containerd`);
    try {
      await stage(context);
      expect((await activate(context)).result).toMatchObject({
        outcome: 'done',
        engineRestarts: 1,
      });
      expect(await served()).toEqual(expect.arrayContaining(['kata-fc', 'runc']));
      expect(await remove(context)).toMatchObject({ outcome: 'done' });
      expect(await machine.sh(`ls ${CONFIG}`)).toBe('');
      expect(await served()).not.toContain('kata-fc');
    } finally {
      await machine.sh(`cp -a /root/config.toml ${CONFIG}; systemctl restart containerd`);
    }
  });

  test.for([
    {
      name: 'a read-only file system with its file',
      set: 'mount --bind /etc/containerd /etc/containerd && mount -o remount,bind,ro /etc/containerd',
      unset: 'umount /etc/containerd',
      outcome: 'unsupported',
      code: 'KATA_E_NOT_WRITABLE',
    },
    {
      name: 'a read-only /opt',
      set: 'mount --bind /opt /opt && mount -o remount,bind,ro /opt',
      unset: 'umount /opt',
      outcome: 'unsupported',
      code: 'KATA_E_NOT_WRITABLE',
    },
    {
      name: 'a file system below /opt that starts no programs',
      set: 'mkdir /opt/kata && mount -t tmpfs -o noexec tmpfs /opt/kata',
      unset: 'umount /opt/kata && rmdir /opt/kata',
      outcome: 'refused',
      code: 'KATA_E_NOT_EXECUTABLE',
    },
  ])(
    'on $name is found in preflight, which writes nothing',
    async ({ set, unset, outcome, code }) => {
      await machine.sh(set);
      try {
        expect(await preflight(context)).toMatchObject({ outcome, error: { code } });
        expect(await machine.sh('find /opt/kata -mindepth 1')).toBe('');
        expect(await digest()).toBe(original);
      } finally {
        await machine.sh(unset);
      }
    },
  );
});
