/**
 * The real program on disks that are full, small, read-only, slow or broken, with a real containerd as the judge of its
 * configuration. What is asserted is the host afterwards: the engine and what it serves, every byte of the configuration.
 */
import { spawn } from 'node:child_process';
import { realpath, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CrashHost } from '../../bench/crash/host.ts';
import { snapshotOf, type Snapshot } from '../../bench/crash/invariants.ts';
import { CONTAINERD_CONFIG as CONFIG } from '../../bench/crash/engineKinds.ts';
import { BLOCK } from '../../bench/crash/machines.ts';
import { prepareTools } from '../../bench/crash/tools.ts';
import { canMount, mounted } from './support/mounts.ts';
import { canTrace, run, succeed } from './support/run.ts';

const isRoot = await canMount();

let tools: Awaited<ReturnType<typeof prepareTools>>;
let host: CrashHost;
const undo: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  tools = await prepareTools();
  host = await CrashHost.create(tools, BLOCK);
  await host.keep('clean');
  await succeed(run('cp', ['-a', at(CONFIG), tools.directory]));
  await host.kataNode(['apply'], 'r1');
  await host.keep('r1');
});
beforeEach(() => host.bringBack('clean'));
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});
afterAll(async () => {
  await host.dispose();
  await tools.dispose();
});

const at = (path: string): string => join(host.root, path);
const served = (): string[] =>
  Object.keys(host.engine.loaded ?? {}).filter((handler) => handler.startsWith('kata'));
const mount = async (args: readonly string[], path: string): Promise<void> => {
  undo.push(await mounted(args, at(path)));
};

/** The directory of the configuration, with the file as it was, on a file system that has no block to give. */
async function fullConfigDirectory(): Promise<void> {
  await mount(['-t', 'tmpfs', '-o', 'size=4k,mode=755', 'tmpfs'], 'etc/containerd');
  await succeed(run('cp', ['-a', join(tools.directory, 'config.toml'), at(CONFIG)]));
}

/** What differs from an earlier state, but for the directories and the record of an installation that was tried. */
async function changesSince(before: Snapshot): Promise<string[]> {
  const now = await snapshotOf(host.root);
  const ours = /^opt\/kata(\/(versions|revisions|state|state\/state\.json|state\/lock))?$/;
  return [...new Set([...Object.keys(before), ...Object.keys(now)])]
    .filter((path) => before[path] !== now[path])
    .filter((path) => !ours.test(path));
}

describe.skipIf(!isRoot)('a file system without room (this needs the right to mount)', () => {
  test('for the artifacts is found before a byte is written, with what is there and what is needed', async () => {
    await mount(['-t', 'tmpfs', '-o', 'size=8k', 'tmpfs'], 'opt');
    const { result, calls } = await host.kataNode(['apply'], 'r1');
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_DISK_SPACE', step: 'DiskSpace' },
    });
    expect(result?.error?.message).toMatch(/\/opt has \d+ bytes free; \d+ are needed/);
    expect(calls).toEqual([]);
    expect(served()).toEqual([]);
  });

  test('for so many files is found before a byte is written', async () => {
    await mount(['-t', 'tmpfs', '-o', 'nr_inodes=40', 'tmpfs'], 'opt');
    const { result, calls } = await host.kataNode(['apply'], 'r1');
    expect(result).toMatchObject({ outcome: 'refused', error: { step: 'DiskSpace' } });
    expect(result?.error?.message).toMatch(/\d+ inodes are free, \d+ are needed/);
    expect(calls).toEqual([]);
  });

  test('for the configuration of the engine is found before the artifacts are unpacked', async () => {
    await fullConfigDirectory();
    const { result, calls } = await host.kataNode(['apply'], 'r1');
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_DISK_SPACE', step: 'EngineConfiguration' },
    });
    expect(calls).toEqual([]);
  });

  test('for the configuration of the engine leaves every byte of it, however late it is full', async () => {
    await host.kataNode(['stage'], 'r1');
    const before = await snapshotOf(host.root);
    await fullConfigDirectory();
    const { result } = await host.kataNode(['activate'], 'r1');
    expect(result).toMatchObject({
      outcome: 'refused',
      error: {
        code: 'KATA_E_IO',
        step: 'EngineConfiguration',
        message: `${CONFIG}: no space left on the device`,
      },
    });
    expect(await changesSince(before)).toEqual([]);
    expect(served()).toEqual([]);
    expect(host.engine.loaded).toHaveProperty('runc');
    for (const step of undo.splice(0)) await step();
    expect((await host.kataNode(['activate', '--attempt', 'b'], 'r1')).result?.outcome).toBe(
      'done',
    );
  });

  test('in the middle of an upgrade gives the room back, and the version that is served stays', async () => {
    await host.bringBack('r1');
    const before = await snapshotOf(host.root);
    const undisturbed = await host.kataNode(['stage'], 'r2');
    const begun = undisturbed.calls.find(
      ({ name, path }) => name === 'pwrite' && path.includes('/bin/'),
    );
    await host.bringBack('r1');
    const at = begun?.number ?? 0;
    const { result } = await host.kataNode(['apply'], 'r2', { at, fault: 'from:ENOSPC' });
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_DISK_SPACE', step: 'Artifacts' },
    });
    expect(await changesSince(before)).toEqual([]);
    expect(served()).toEqual(['kata-fc']);
  });
});

describe.skipIf(!isRoot)(
  'a configuration that cannot be written (this needs the right to mount)',
  () => {
    test('because its file system is read-only is said in words, and everything is as before', async () => {
      await host.kataNode(['stage'], 'r1');
      const before = await snapshotOf(host.root);
      await mount(['--bind', at('etc/containerd')], 'etc/containerd');
      await succeed(run('mount', ['-o', 'remount,bind,ro', at('etc/containerd')]));
      const { result } = await host.kataNode(['activate'], 'r1');
      expect(result).toMatchObject({
        outcome: 'unsupported',
        error: { code: 'KATA_E_NOT_WRITABLE', step: 'EngineConfiguration' },
      });
      expect(await changesSince(before)).toEqual([]);
      expect(served()).toEqual([]);
    });

    test('because somebody has made it immutable is said in words, and everything is as before', async ({
      skip,
    }) => {
      await host.kataNode(['stage'], 'r1');
      const before = await snapshotOf(host.root);
      const { code } = await run('chattr', ['+i', at(CONFIG)]);
      if (code !== 0) skip('this file system knows no immutable files');
      undo.push(() => run('chattr', ['-i', at(CONFIG)]));
      const { result } = await host.kataNode(['activate'], 'r1');
      expect(result).toMatchObject({
        outcome: 'refused',
        error: { code: 'KATA_E_IO', message: `${CONFIG}: operation not permitted` },
      });
      expect(await changesSince(before)).toEqual([]);
      expect(served()).toEqual([]);
    });
  },
);

describe.skipIf(!(await canTrace()))('a disk (this needs strace)', () => {
  /** The program under strace, which does with system calls what `inject` says. */
  async function traced(command: readonly string[], inject: readonly string[]) {
    const args = [tools.program, ...command, '--plan', tools.plans.r1, '--root', host.root];
    const child = spawn(
      'strace',
      [...['-f', '-qq', '-o', '/dev/null'], ...inject, process.execPath, ...args].concat(
        '--artifacts',
        tools.artifacts.r1,
        '--output',
        'json',
      ),
      { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, KATA_HELPER: tools.helper } },
    );
    return JSON.parse(await text(child.stdout)) as { outcome: string; error?: { code: string } };
  }
  const flushes = 'fsync,fdatasync,syncfs';

  test('that takes its time makes a run slow and nothing worse, and status says that it is under way', async () => {
    const slow = ['-e', `trace=${flushes}`, '-e', `inject=${flushes}:delay_enter=15000`];
    await symlink('/proc/locks', at('proc/locks'));
    undo.push(() => rm(at('proc/locks')));
    const over = new AbortController();
    const running = traced(['apply'], slow).finally(() => {
      over.abort();
    });
    const phases = new Set<string>();
    while (!over.signal.aborted) {
      const { stdout } = await host.kataNode(['status'], 'r1');
      phases.add((JSON.parse(stdout) as { phase: string }).phase);
    }
    expect(phases).toContain('Changing');
    expect((await running).outcome).toBe('done');
    expect(served()).toEqual(['kata-fc']);
  });

  test.for([
    { name: 'a configuration', path: 'revisions/r1/kata-fc/configuration.toml' },
    { name: 'a file of the artifacts', path: 'current/share/kata-containers/kata-containers.img' },
  ])('that cannot give back $name is an error of its own, not a difference', async ({ path }) => {
    await host.bringBack('r1');
    const before = await snapshotOf(host.root);
    const file = await realpath(at(join('opt/kata', path)));
    const reads = 'read,pread64';
    const broken = ['-P', file, '-e', `trace=${reads}`, '-e', `inject=${reads}:error=EIO`];
    expect(await traced(['verify', '--files'], broken)).toMatchObject({
      outcome: 'failed',
      error: {
        code: 'KATA_E_IO',
        message: `${file.slice(host.root.length)}: the device reports an input/output error`,
      },
    });
    expect(await snapshotOf(host.root)).toEqual(before);
    expect(served()).toEqual(['kata-fc']);
  });
});
