/**
 * The real program on a host in a directory, with a real containerd as the judge of its configuration: interrupted at
 * calls that change the disk (a sample of what `npm run bench -- crash` does), at odds with another run, and where
 * somebody else has been. A failure names the point; the same point can be examined again alone.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, rm, rmdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CONTAINERD_CONFIG as CONFIG, CRIO_DROP_INS } from '../../bench/crash/engineKinds.ts';
import { CrashHost } from '../../bench/crash/host.ts';
import { snapshotOf, wrongAfterRemoval, type Snapshot } from '../../bench/crash/invariants.ts';
import { ADMIN_CONFIG, BLOCK, MACHINES } from '../../bench/crash/machines.ts';
import { allPoints, describePoint, sample } from '../../bench/crash/points.ts';
import { Laboratory, SCENARIOS, type Point } from '../../bench/crash/scenarios.ts';
import { prepareTools } from '../../bench/crash/tools.ts';

const SEED = 20261121;
const POINTS_PER_SCENARIO = 2;

let tools: Awaited<ReturnType<typeof prepareTools>>;
let host: CrashHost;
let laboratory: Laboratory;
let clean: Snapshot;

beforeAll(async () => {
  tools = await prepareTools();
  host = await CrashHost.create(tools, BLOCK);
  clean = await snapshotOf(host.root);
  laboratory = await Laboratory.create(host);
});
afterAll(async () => {
  await host.dispose();
  await tools.dispose();
});

/** The points after which something was wrong. */
async function wrongPoints(on: Laboratory, points: readonly Point[]): Promise<unknown[]> {
  const found: unknown[] = [];
  for (const point of points) {
    const verdict = await on.examine(point);
    if (!verdict.reached || verdict.wrong.length > 0)
      found.push({ point: describePoint(point), ...verdict });
  }
  return found;
}

describe('a host on which a run was interrupted', () => {
  test.for(SCENARIOS)(
    'is right at once, after the next run and after removal: $name',
    async (scenario) => {
      const points = allPoints(scenario, await laboratory.callsOf(scenario));
      expect(await wrongPoints(laboratory, sample(points, POINTS_PER_SCENARIO, SEED))).toEqual([]);
    },
  );

  // Each has an engine and files of its own.
  test.concurrent.for(MACHINES.filter((machine) => machine !== BLOCK))(
    'is right wherever its engine has its handlers: $name',
    async (machine, { expect }) => {
      const other = await CrashHost.create(tools, machine);
      try {
        const its = await Laboratory.create(other);
        // Every other run on each, and every run on one of them.
        const turn = MACHINES.indexOf(machine) % 2;
        for (const scenario of SCENARIOS.filter((_, index) => index % 2 === turn)) {
          const points = allPoints(scenario, await its.callsOf(scenario));
          expect(await wrongPoints(its, sample(points, 1, SEED))).toEqual([]);
        }
      } finally {
        await other.dispose();
      }
    },
  );

  test.concurrent(
    'has the directory of a drop-in exactly as long as it is needed',
    async ({ expect }) => {
      const [machine = BLOCK] = MACHINES.filter(({ name }) => name.startsWith('CRI-O'));
      const other = await CrashHost.create(tools, machine);
      try {
        const its = await Laboratory.create(other);
        for (const [name, call] of [
          ['install', 'mkdir'],
          ['remove', 'rmdir'],
        ]) {
          const scenario = SCENARIOS.find((one) => one.name === name);
          if (scenario === undefined) throw new Error(`there is no ${name}`);
          const calls = await its.callsOf(scenario);
          const found = calls.find((one) => one.name === call && one.path === CRIO_DROP_INS);
          expect(found).toBeDefined();
          const interruption = { at: (found?.number ?? 0) + 1, fault: 'kill' } as const;
          const points = (['otherAttempt', 'timer', 'instead'] as const).map((sequel) => ({
            ...{ scenario, sequel, interruption },
          }));
          expect(await wrongPoints(its, points)).toEqual([]);
        }
      } finally {
        await other.dispose();
      }
    },
  );

  test('goes back to the old configuration when the run that goes on finds that the engine does not start', async () => {
    await host.bringBack('r1');
    const before = await host.config();
    const undisturbed = await host.kataNode(['apply', '--attempt', 'a'], 'r2');
    const renamed = undisturbed.calls.find(
      ({ name, path }) => name === 'rename' && path === CONFIG,
    );
    await host.bringBack('r1');
    // The file has changed, and the engine was not restarted yet.
    const at = (renamed?.number ?? 0) + 2;
    await host.kataNode(['apply', '--attempt', 'a'], 'r2', { at, fault: 'kill' });
    expect(await host.config()).not.toBe(before);
    host.engine.failingRestarts = 1;
    const again = await host.kataNode(['apply', '--attempt', 'b'], 'r2');
    expect(again.result).toMatchObject({
      outcome: 'rolledBack',
      error: { code: 'KATA_E_ENGINE_RESTART', step: 'EngineRestart' },
    });
    expect(await host.config()).toBe(before);
    expect(host.served()).toEqual(['kata-fc']);
  });

  test('is explained by status: what was interrupted, what is served, and what to do', async () => {
    await host.bringBack('r1');
    await host.kataNode(['apply', '--attempt', 'a'], 'r2', { restart: 'asked' });
    const { stdout } = await host.kataNode(['status'], 'r2');
    expect(JSON.parse(stdout)).toMatchObject({
      phase: 'Interrupted',
      active: { revision: 'r1' },
      transaction: { stage: 'activate', revision: 'r2', attempt: 'a' },
      next: expect.stringContaining('kata-node rollback returns to revision r1') as string,
    });
    expect((await host.kataNode(['rollback'], 'r2')).result).toMatchObject({
      outcome: 'done',
      revision: 'r1',
    });
    expect(host.served()).toEqual(['kata-fc']);
  });
});

test('containerd 2.4 does not read conf.d unless its file says so, and gets the block', async () => {
  await host.bringBack('clean');
  const conf = join(host.root, 'etc/containerd/conf.d');
  await mkdir(conf);
  expect((await host.kataNode(['apply'], 'r1')).result).toMatchObject({ outcome: 'done' });
  expect(await readdir(conf)).toEqual([]);
  expect(host.served()).toEqual(['kata-fc']);
});

/** Waits three times for the program to have a candidate checked, and edits the file meanwhile, each time in another way. */
const ADMIN = `config=$1 candidate=$2 edits=0
while [ $edits -lt 3 ]; do
  if [ -e "$candidate" ]; then
    edits=$((edits + 1))
    case $edits in
    1) printf '\\n# edit 1\\n' >>"$config" ;;
    2) cp -p "$config" "$config.theirs"; echo '# edit 2' >>"$config.theirs"; mv "$config.theirs" "$config" ;;
    3) text=$(cat "$config"); printf 'root = "/half' >"$config"; sleep 0.1; printf '%s\\n# edit 3\\n' "$text" >"$config" ;;
    esac
    while [ -e "$candidate" ]; do sleep 0.01; done
  fi
  sleep 0.005
done`;

test('an administrator who edits the file meanwhile loses nothing, and the run goes on', async () => {
  await host.bringBack('clean');
  const paths = [CONFIG, '/etc/containerd/.config.toml.kata-operator-candidate'];
  const admin = spawn('sh', ['-c', ADMIN, 'sh', ...paths.map((path) => join(host.root, path))]);
  const ended = once(admin, 'exit');
  const late = setTimeout(() => admin.kill('SIGKILL'), 30_000);
  expect((await host.kataNode(['apply'], 'r1')).result).toMatchObject({ outcome: 'done' });
  await ended;
  clearTimeout(late);
  expect(admin.exitCode).toBe(0);
  expect(await host.config()).toContain(`${ADMIN_CONFIG}\n# edit 1\n# edit 2\n# edit 3\n`);
  expect(host.served()).toEqual(['kata-fc']);
  expect((await host.kataNode(['remove'], 'r1')).result).toMatchObject({ outcome: 'done' });
  expect(await host.config()).toBe(`${ADMIN_CONFIG}\n# edit 1\n# edit 2\n# edit 3\n`);
  expect(wrongAfterRemoval(clean, await snapshotOf(host.root))).toEqual([
    `${CONFIG.slice(1)} was changed`,
  ]);
});

test('a guard that an earlier release has left is understood, and goes', async () => {
  await host.bringBack('r1');
  const files = {
    'opt/kata/state/restore/restore.sh': "#!/bin/sh\nset -eu\nunit='containerd.service'\n",
    'opt/kata/state/restore/saved': ADMIN_CONFIG,
    'opt/kata/state/restore/waits': '3\n',
    'etc/systemd/system/kata-operator-restore.service': '[Service]\nType=oneshot\n',
    'etc/systemd/system/kata-operator-restore.timer': '[Timer]\nOnActiveSec=45\n',
  };
  const wants = join(host.root, 'etc/systemd/system/multi-user.target.wants');
  await mkdir(wants);
  await symlink('../kata-operator-restore.service', join(wants, 'kata-operator-restore.service'));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(host.root, path)), { recursive: true });
    await writeFile(join(host.root, path), text);
  }
  expect((await host.kataNode(['apply'], 'r2')).result).toMatchObject({ outcome: 'done' });
  expect(await readdir(wants)).toEqual([]);
  await rmdir(wants);
  expect((await host.kataNode(['remove'], 'r2')).result).toMatchObject({ outcome: 'done' });
  expect(wrongAfterRemoval(clean, await snapshotOf(host.root))).toEqual([]);
});

describe('two runs at once', () => {
  test('are one after the other: the host is as one of them wanted it', async () => {
    await host.bringBack('clean');
    const runs = await Promise.all([
      host.kataNode(['apply'], 'r1'),
      host.kataNode(['apply'], 'r2'),
    ]);
    expect(runs.map(({ result }) => result?.error ?? result?.outcome)).toEqual(['done', 'done']);
    const text = await host.config();
    const revision = text.includes('/revisions/r1/') ? 'r1' : 'r2';
    expect(text).not.toContain(`/revisions/${revision === 'r1' ? 'r2' : 'r1'}/`);
    expect(host.served()).toEqual(
      revision === 'r1' ? ['kata-fc'] : ['kata', 'kata-fc', 'kata-qemu'],
    );
  });
});

describe('removal where somebody has been before', () => {
  const inHost = (path: string): string => join(host.root, path);
  const cases: readonly [string, () => Promise<void>][] = [
    ['took our block out', () => writeFile(inHost(CONFIG), ADMIN_CONFIG)],
    ['deleted the state', () => rm(inHost('opt/kata/state'), { recursive: true })],
    ['deleted the versions', () => rm(inHost('opt/kata/versions'), { recursive: true })],
    ['deleted all of /opt/kata', () => rm(inHost('opt/kata'), { recursive: true })],
  ];
  test.for(cases)('ends with nothing left when somebody %s', async ([, change]) => {
    await host.bringBack('r2');
    await change();
    const { result } = await host.kataNode(['remove'], 'r2');
    expect(result).toMatchObject({ outcome: 'done' });
    expect(wrongAfterRemoval(clean, await snapshotOf(host.root))).toEqual([]);
    expect(host.served()).toEqual([]);
  });

  test('leaves a configuration that the administrator has deleted deleted', async () => {
    await host.bringBack('r2');
    await rm(inHost(CONFIG));
    await host.kataNode(['remove'], 'r2');
    expect(wrongAfterRemoval(clean, await snapshotOf(host.root))).toEqual([
      `${CONFIG.slice(1)} is gone`,
    ]);
    await writeFile(inHost(CONFIG), ADMIN_CONFIG);
    await chmod(inHost(CONFIG), 0o640);
  });
});
