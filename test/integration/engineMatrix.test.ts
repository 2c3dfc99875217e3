/**
 * The life of an installation on a host with systemd, by the bundled program, on every containerd. Each test goes on
 * where the one before it ended.
 */
import { createHash } from 'node:crypto';
import { link, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ENGINE_RELEASES } from '../../e2e/cluster/engines.ts';
import { IMAGES } from '../../e2e/cluster/images.ts';
import { waitUntil } from '../../e2e/cluster/wait.ts';
import { writeArchive } from '../../e2e/standin/archive.ts';
import { artifactsDirectory, packArchives } from '../../e2e/standin/pack.ts';
import type { NodePlan } from '../../src/crds/nodePlan.ts';
import { type CriStatus, criStatus } from '../../src/node/engine/cri/client.ts';
import { servedBy } from '../../src/node/engine/served.ts';
import {
  loadImage,
  readySandboxes,
  removeSandbox,
  runSandbox,
  shimOf,
} from './support/criSandbox.ts';
import { startEngineHost } from './support/engineHost.ts';
import { cellOf, type Check, seen } from './support/engineMatrix.ts';
import { signal } from './support/engineRelease.ts';
import { KataNodeProgram, type ProgramRun, type RunRequest } from './support/kataNodeProgram.ts';
import type { SystemdHost } from './support/systemdHost.ts';

const CONFIG = '/etc/containerd/config.toml';
/** The engine does not start once the handler kata-clh is in its file; its own check accepts it. */
const TRAP = '/etc/systemd/system/containerd.service.d/trap.conf';

const planOf = (revision: string, ...bases: readonly ('qemu' | 'clh')[]): NodePlan => ({
  planVersion: 1,
  deployment: 'kata',
  revision,
  artifacts: { kind: 'bundled' },
  requireKVM: false,
  runtimes: bases.map((base) => ({
    handler: `kata-${base}`,
    base,
    hypervisor: base,
    shimPath: 'bin/containerd-shim-kata-v2',
    configurationPath: `share/defaults/kata-containers/configuration-${base}.toml`,
    architectures: ['amd64', 'arm64'],
    podAnnotations: [],
    required: true,
  })),
  engine: { type: 'Auto', restart: 'WhenNeeded' },
});
const FIRST = planOf('r1', 'qemu');
const SECOND = planOf('r2', 'qemu');
const THIRD = planOf('r3', 'qemu', 'clh');

const first = artifactsDirectory('small');
let second = '';
let program: KataNodeProgram;

/** The same artifacts with one archive more: another version. */
async function anotherVersion(): Promise<string> {
  const { archives } = await packArchives({ kind: 'small' });
  const directory = await mkdtemp(join(tmpdir(), 'ko-matrix-'));
  for (const { file } of archives)
    await link(join(first, file), join(directory, file)).catch(async () =>
      writeFile(join(directory, file), await readFile(join(first, file))),
    );
  const file = join(directory, 'kata-more.tar.zst');
  const bytes = Buffer.from('more\n');
  const entry = { path: 'share/more.txt', mode: 0o644, content: { bytes, sizeBytes: 5 } };
  const written = await writeArchive(file, './opt/kata/', [entry]);
  const more = { file: basename(file), arch: 'amd64', component: 'kata-more', ...written };
  const index = { archives: [...archives, more] };
  await writeFile(join(directory, 'index.json'), JSON.stringify(index));
  return directory;
}

beforeAll(async () => {
  second = await anotherVersion();
  program = await KataNodeProgram.build();
});
afterAll(async () => {
  await program.destroy();
  await rm(second, { recursive: true });
});

describe.for(ENGINE_RELEASES)('containerd %s under systemd', (release) => {
  let machine: SystemdHost;
  let engine = '';
  let original = '';
  let handlers: string[] = [];
  let opt = '';
  let sandbox = '';
  let shim: Awaited<ReturnType<typeof shimOf>>;

  beforeAll(async () => {
    machine = await startEngineHost(release);
    await loadImage(machine, IMAGES.pause);
    const said = await machine.sh('containerd --version');
    engine = `containerd ${/\d+\.\d+\.\d+/.exec(said)?.[0] ?? ''}`;
    original = await digest();
    handlers = await served();
    opt = await machine.sh('ls -A /opt');
  });
  afterAll(() => machine.destroy());

  const run = (
    command: RunRequest['command'],
    plan: NodePlan,
    artifacts = first,
  ): Promise<ProgramRun> => program.run({ command, plan, artifacts, host: machine.host });
  const digest = async (): Promise<string> =>
    createHash('sha256')
      .update(await readFile(machine.host.at(CONFIG)))
      .digest('hex');
  const status = (): Promise<CriStatus> =>
    criStatus(machine.host.at('/run/containerd/containerd.sock'), 10_000, signal());
  // A restart by hand has ended before containerd 1.6 answers.
  const served = (): Promise<string[]> =>
    waitUntil('CRI answers', async () => ({ value: servedBy(await status()) }), {
      timeoutMs: 20_000,
    });
  const invocation = (): Promise<string> =>
    machine.sh('systemctl show --property InvocationID --value containerd');
  const currentVersion = (): Promise<string> => machine.sh('readlink -f /opt/kata/current');

  /** One cell of the table. */
  const cell = (check: Check, name: string, body: () => Promise<string>): void => {
    test(name, async ({ task }) => {
      cellOf(task, engine, check);
      seen(task, await body());
    });
  };
  const expectSandbox = async (): Promise<void> => {
    expect(await readySandboxes(machine)).toEqual([sandbox]);
    expect(await shimOf(machine, sandbox)).toEqual(shim);
  };

  cell('install', 'serves the handler after one restart, and all of before', async () => {
    expect((await run('apply', FIRST)).result).toMatchObject({
      ...{ outcome: 'done', engineRestarts: 1, handlers: ['kata-qemu'] },
    });
    expect(await served()).toEqual([...handlers, 'kata-qemu'].toSorted());
    return 'one restart';
  });

  cell('sandbox', 'runs a sandbox by the shim of its version', async () => {
    sandbox = await runSandbox(machine, 'kata-qemu', 'first');
    shim = await shimOf(machine, sandbox);
    expect(shim?.program).toBe(`${await currentVersion()}/bin/containerd-shim-kata-v2`);
    await expectSandbox();
    return 'stand-in shim';
  });

  cell('noop', 'does nothing a second time', async () => {
    const before = [await invocation(), await digest()];
    expect((await run('apply', FIRST)).result).toMatchObject({
      ...{ outcome: 'done', engineRestarts: 0, bytesWritten: 0 },
    });
    expect([await invocation(), await digest()]).toEqual(before);
    await expectSandbox();
    return 'no restart, 0 bytes';
  });

  cell('upgrade', 'takes over another version, and leaves the sandbox to the old one', async () => {
    const { result } = await run('apply', SECOND, second);
    expect(result).toMatchObject({ outcome: 'done', handlers: ['kata-qemu'] });
    expect(result.engineRestarts).toBeLessThanOrEqual(1);
    await expectSandbox();
    const other = await runSandbox(machine, 'kata-qemu', 'second');
    const version = await currentVersion();
    expect((await shimOf(machine, other))?.program).toBe(`${version}/bin/containerd-shim-kata-v2`);
    expect(shim?.program.startsWith(`${version}/`)).toBe(false);
    await removeSandbox(machine, other);
    return 'one restart, sandbox lives on';
  });

  cell('drift', 'sees that its handlers were taken out by hand, and brings them back', async () => {
    const installed = await digest();
    await machine.sh(`sed -i '/^# >>> kata-operator/,$d' ${CONFIG}; systemctl restart containerd`);
    expect(await digest()).not.toBe(installed);
    expect(await served()).toEqual(handlers);
    expect(await run('verify', SECOND, second)).toMatchObject({ code: 4 });
    expect(await run('apply', SECOND, second)).toMatchObject({ code: 0 });
    expect(await served()).toContain('kata-qemu');
    expect(await digest()).toBe(installed);
    await expectSandbox();
    return 'seen and repaired';
  });

  cell(
    'badConfiguration',
    'refuses a file with which the engine would not start again',
    async () => {
      const good = await readFile(machine.host.at(CONFIG));
      await writeFile(
        machine.host.at(CONFIG),
        `imports = ["/etc/containerd/missing.toml"]\n${good.toString()}`,
      );
      const before = [await invocation(), await digest()];
      expect(await run('apply', THIRD, second)).toMatchObject({
        ...{ code: 2, result: { outcome: 'refused' } },
      });
      expect([await invocation(), await digest()]).toEqual(before);
      await writeFile(machine.host.at(CONFIG), good);
      await expectSandbox();
      return 'refused, no restart';
    },
  );

  cell(
    'rollback',
    'takes a change back with which the engine does not start, and returns to the revision before',
    async () => {
      const before = await digest();
      await machine.sh(`mkdir -p $(dirname ${TRAP}) &&
      printf '[Service]\\nExecStartPre=/bin/sh -c "! grep -q kata-clh ${CONFIG}"\\n' >${TRAP} && systemctl daemon-reload`);
      expect(await run('apply', THIRD, second)).toMatchObject({
        ...{ code: 3, result: { outcome: 'rolledBack' } },
      });
      await machine.sh(`rm ${TRAP}; systemctl daemon-reload`);
      expect(await digest()).toBe(before);
      expect(await served()).toEqual([...handlers, 'kata-qemu'].toSorted());
      await expectSandbox();
      expect(await run('rollback', SECOND)).toMatchObject({ code: 0 });
      expect(shim?.program.startsWith(`${await currentVersion()}/`)).toBe(true);
      await expectSandbox();
      return 'by itself and by command';
    },
  );

  cell('remove', 'leaves the host as it was, to the byte', async () => {
    await removeSandbox(machine, sandbox);
    expect(await run('remove', FIRST)).toMatchObject({ code: 0 });
    expect(await digest()).toBe(original);
    expect(await served()).toEqual(handlers);
    expect(await machine.sh('ls -A /opt')).toBe(opt);
    expect(
      await machine.sh("systemctl list-units --all --plain --no-legend 'kata-operator*'"),
    ).toBe('');
    return 'same sha256';
  });
});
