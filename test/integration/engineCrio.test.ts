import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  checkEngineConfig,
  discoverEngine,
  type HandlerRegistration,
  installSteps,
  type RemoveOptions,
  removeSteps,
  servedHandlers,
} from '../../src/node/engine/index.ts';
import { crioBinary } from './support/crioBinary.ts';
import { CrioProcess } from './support/crioProcess.ts';
import { cellOf, seen } from './support/engineMatrix.ts';
import { failureOf, host, MemoryStore, run, sha256, signal } from './support/engineRelease.ts';

const binary = await crioBinary().catch((error: unknown) => {
  const cause = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
  process.stderr.write(`skipped: CRI-O cannot be built here: ${cause ?? ''}\n`);
  return undefined;
});

describe.skipIf(binary === undefined)('CRI-O', () => {
  let crio: CrioProcess;
  let store: MemoryStore;
  beforeEach(async () => {
    crio = await CrioProcess.create(binary ?? '');
    store = new MemoryStore();
    await crio.start();
  });
  afterEach(() => crio.destroy());

  const dropIns = (): string => crio.engine().dropInDirectory ?? '';
  const ours = (): string => join(dropIns(), '90-kata-operator-kata.conf');
  const served = (): Promise<string[]> => servedHandlers(host, crio.engine(), signal());
  const kata = (handler: string): HandlerRegistration => ({
    handler,
    shimPath: `${crio.directory}/shim/containerd-shim-kata-v2`,
    configPath: `${crio.directory}/shim/configuration.toml`,
    podAnnotations: ['io.katacontainers.config.hypervisor.default_vcpus'],
  });
  const options = (): RemoveOptions => ({
    ...{ host, engine: crio.engine(), owner: 'kata', restart: 'WhenNeeded' },
    ...{ record: store, restarter: crio, backupDirectory: `${crio.directory}/backup` },
  });
  const install = (...handlers: string[]): Promise<unknown> =>
    run(installSteps({ ...options(), registrations: handlers.map(kata) }));

  const NAME = (): string => `CRI-O ${crio.engine().version}`;

  test('serves the handlers after a reload, without a restart', async ({ task }) => {
    cellOf(task, NAME(), 'install');
    const before = await served();
    await checkEngineConfig(host, crio.engine(), signal());
    await install('kata-fc', 'kata-qemu');
    expect(await served()).toEqual([...before, 'kata-fc', 'kata-qemu'].toSorted());
    expect(await readdir(dropIns())).toEqual(['90-kata-operator-kata.conf']);
    expect([crio.reloads, crio.restarts]).toEqual([1, 0]);
    seen(task, 'one reload');
  });

  test('does nothing a second time', async ({ task }) => {
    cellOf(task, NAME(), 'noop');
    await install('kata-fc', 'kata-qemu');
    const installed = await sha256(ours());
    expect(await install('kata-fc', 'kata-qemu')).toEqual([]);
    expect(await sha256(ours())).toBe(installed);
    expect([crio.reloads, crio.restarts]).toEqual([1, 0]);
    seen(task, 'no reload, 0 bytes');
  });

  test('takes over the shim of another version by a reload', async ({ task }) => {
    cellOf(task, NAME(), 'upgrade');
    await install('kata-fc');
    await cp(`${crio.directory}/shim`, `${crio.directory}/other`, { recursive: true });
    const shimPath = `${crio.directory}/other/containerd-shim-kata-v2`;
    const registrations = [{ ...kata('kata-fc'), shimPath }];
    await run(installSteps({ ...options(), registrations }));
    expect(await readFile(ours(), 'utf8')).toContain(shimPath);
    expect(await run(installSteps({ ...options(), registrations }))).toEqual([]);
    expect([crio.reloads, crio.restarts]).toEqual([2, 0]);
    seen(task, 'one reload');
  });

  test('gets its file back that was taken away by hand', async ({ task }) => {
    cellOf(task, NAME(), 'drift');
    await install('kata-fc');
    const installed = await sha256(ours());
    await rm(ours());
    await crio.restart();
    expect(await served()).not.toContain('kata-fc');
    await install('kata-fc');
    expect(await sha256(ours())).toBe(installed);
    expect(await served()).toContain('kata-fc');
    seen(task, 'repaired');
  });

  test('runs with the earlier file again when it does not come back with the new one', async ({
    task,
  }) => {
    cellOf(task, NAME(), 'rollback');
    await install('kata-fc');
    const installed = await sha256(ours());
    crio.ignoresReload = true;
    crio.failingRestarts = 1;
    expect(await failureOf(install('kata-fc', 'kata-qemu'))).toMatchObject({
      code: 'KATA_E_ENGINE_RESTART',
    });
    expect(await sha256(ours())).toBe(installed);
    expect(await served()).toContain('kata-fc');
    expect(await served()).not.toContain('kata-qemu');
    expect(crio.restarts).toBe(2);
    seen(task, 'by itself');
  });

  test('gives back what was there', async ({ task }) => {
    cellOf(task, NAME(), 'remove');
    const original = await sha256(crio.engine().configPath);
    const before = await served();
    await install('kata-fc', 'kata-qemu');
    await install('kata-fc');
    expect(await served()).toEqual([...before, 'kata-fc'].toSorted());
    await run(removeSteps(options()));
    expect(await served()).toEqual(before);
    expect(await readdir(dropIns())).toEqual([]);
    expect(await readdir(join(dropIns(), '..'))).toEqual(['crio.conf', 'crio.conf.d']);
    expect(await sha256(crio.engine().configPath)).toBe(original);
    expect([crio.reloads, crio.restarts]).toEqual([3, 0]);
    expect(store.record).toBeUndefined();
    seen(task, 'same sha256');
  });

  test('is restarted, once, when it does not take over its runtimes by a reload', async () => {
    crio.ignoresReload = true;
    await install('kata-fc');
    expect(await served()).toContain('kata-fc');
    expect(crio.restarts).toBe(1);
  });

  test('starts again with what was written, and its own parser sees a VM runtime there', async () => {
    await install('kata-fc');
    await crio.restart();
    expect(await served()).toContain('kata-fc');
    expect(await readFile(ours(), 'utf8')).toMatch(/^runtime_type = "vm"$/m);
    // It knows only its own names there, and does not start with any other.
    expect(await readFile(ours(), 'utf8')).not.toContain('allowed_annotations');
  });

  test('refuses a missing shim, which its own check does not notice and its daemon would not survive', async () => {
    await rm(`${crio.directory}/shim/containerd-shim-kata-v2`);
    const error = await failureOf(install('kata-fc'));
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_REJECTED_CONFIG' });
    expect(error.message).toContain('which does not exist');
    expect(await readdir(dropIns())).toEqual([]);
    expect(crio.reloads).toBe(0);
  });

  test.for([
    { name: 'that does not parse', text: '[crio.runtime\n', says: 'refused the configuration' },
    {
      name: 'that another file defines',
      text: '[crio.runtime.runtimes.kata-fc]\nruntime_path = "/usr/bin/other"\n',
      says: 'kata-fc',
      last: true,
    },
    {
      name: 'with a default runtime that nobody defines',
      text: '[crio.runtime]\ndefault_runtime = "gone"\n',
      says: 'default_runtime',
    },
  ])('refuses a file $name, and changes nothing', async ({ text, says, last }, { task }) => {
    if (last === undefined) cellOf(task, NAME(), 'badConfiguration');
    const theirs = join(dropIns(), last === true ? '99-theirs.conf' : '10-theirs.conf');
    await writeFile(theirs, text);
    const names = await readdir(dropIns());
    const error = await failureOf(install('kata-fc'));
    expect(error.message).toContain(says);
    expect(await readdir(dropIns())).toEqual(names);
    expect(await readdir(join(dropIns(), '..'))).toEqual(['crio.conf', 'crio.conf.d']);
    expect(crio.reloads).toBe(0);
    if (last === undefined) seen(task, 'refused, no reload');
  });

  test('has no snapshotters, and says so', async () => {
    const registrations = [{ ...kata('kata-fc'), snapshotter: 'devmapper' }];
    const error = await failureOf(run(installSteps({ ...options(), registrations })));
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_UNSUPPORTED' });
  });

  test('is found behind its socket, with its files and its version', async () => {
    const wanted = { type: 'Auto', restart: 'WhenNeeded', socket: crio.engine().socket } as const;
    expect(await discoverEngine(host, wanted, signal())).toMatchObject(crio.engine());
    const error = await failureOf(
      discoverEngine(host, { ...wanted, type: 'containerd' }, signal()),
    );
    expect(error.message).toContain('spec.engine.type is containerd, but the engine at');
  });
});
