import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { StageContext } from '../../../../src/node/stages/context.ts';
import { remove } from '../../../../src/node/stages/remove.ts';
import type { Host } from '../../../../src/node/host/host.ts';
import { ENGINE_CONFIG, installedHost, type InstalledHost, snapshot } from '../fixtures/host.ts';

async function installed(): Promise<InstalledHost & { version: string }> {
  const its = await installedHost({ sandboxPatienceMs: 0 });
  return { ...its, version: `/opt/kata/versions/${its.digest}` };
}

async function process(host: Host, pid: number, exe: string): Promise<() => Promise<void>> {
  const directory = host.at(`/proc/${pid}`);
  await mkdir(directory, { recursive: true });
  await symlink(exe, join(directory, 'exe'));
  return () => rm(host.at('/proc'), { recursive: true });
}

describe('remove, while a sandbox runs', () => {
  it.each([
    ['a shim', 'bin/containerd-shim-kata-v2'],
    ['a virtual machine', 'bin/qemu-system-x86_64'],
    ['a file server whose file was replaced', 'libexec/virtiofsd (deleted)'],
  ])('is refused because of %s, and nothing has changed', async (_, path) => {
    const { context, engine, version } = await installed();
    const end = await process(context.host, 4711, join(version, path));
    const before = await snapshot(context.host.root);
    expect(await remove(context)).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_IN_USE', step: 'Sandboxes', message: /\(pid 4711\)/ as never },
    });
    expect(await snapshot(context.host.root)).toEqual(before);
    expect(engine.restarts).toBe(1);
    await end();
    expect(await remove(context)).toMatchObject({ outcome: 'done' });
  });

  it('is refused because of a sandbox whose shim is gone: the engine needs the binary to clean it up', async () => {
    const { context, version } = await installed();
    const task = context.host.at('/run/containerd/io.containerd.runtime.v2.task/k8s.io/0123');
    await mkdir(task, { recursive: true });
    await writeFile(join(task, 'shim-binary-path'), `${version}/bin/containerd-shim-kata-v2`);
    expect(await remove(context)).toMatchObject({
      outcome: 'refused',
      error: { message: /sandbox 0123/ as never },
    });
  });

  it('waits for one that is about to end', async () => {
    const { context, version } = await installed();
    const end = await process(context.host, 4711, `${version}/bin/containerd-shim-kata-v2`);
    setTimeout(() => void end(), 200);
    expect(await remove({ ...context, sandboxPatienceMs: 10_000 })).toMatchObject({
      outcome: 'done',
    });
  });

  it('takes everything away all the same when it is forced', async () => {
    const { context, version } = await installed();
    await process(context.host, 4711, `${version}/bin/containerd-shim-kata-v2`);
    expect(await remove({ ...context, force: true })).toMatchObject({ outcome: 'done' });
    expect(await snapshot(context.host.at('/opt'))).toEqual({});
  });

  it('does not mind processes of another Kata below /opt/kata', async () => {
    const { context } = await installed();
    await process(context.host, 4711, '/opt/kata/bin/containerd-shim-kata-v2');
    expect(await remove(context)).toMatchObject({ outcome: 'done' });
  });
});

describe('remove, where somebody has removed a part by hand', () => {
  const parts: readonly [string, (context: StageContext, version: string) => Promise<unknown>][] = [
    ['the record', ({ host }) => rm(host.at('/opt/kata/state'), { recursive: true })],
    ['the state file', ({ host }) => rm(host.at('/opt/kata/state/state.json'))],
    ['the version', ({ host }, version) => rm(host.at(version), { recursive: true })],
    ['a file of the version', ({ host }, version) => rm(host.at(`${version}/VERSION`))],
    ['all configuration', ({ host }) => rm(host.at('/opt/kata/revisions'), { recursive: true })],
    ['everything below /opt/kata', ({ host }) => rm(host.at('/opt/kata'), { recursive: true })],
    [
      'our lines in the configuration',
      async ({ host }) => {
        const at = host.at(ENGINE_CONFIG);
        const text = await readFile(at, 'utf8');
        await writeFile(at, text.replaceAll(/^#kata .*\n/gm, ''));
      },
    ],
  ];
  it.each(parts)('ends and leaves nothing, without %s', async (_, removePart) => {
    const { context, engine, version, before } = await installed();
    await removePart(context, version);
    expect(await remove(context)).toMatchObject({ outcome: 'done' });
    expect(await snapshot(context.host.root)).toEqual(before);
    expect(engine.loaded).toEqual([]);
  });
});
