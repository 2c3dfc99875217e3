import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
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

  test('serves the handlers after a reload, without a restart, and gives back what was there', async () => {
    const original = await sha256(crio.engine().configPath);
    const before = await served();
    await checkEngineConfig(host, crio.engine(), signal());
    await install('kata-fc', 'kata-qemu');
    expect(await served()).toEqual([...before, 'kata-fc', 'kata-qemu'].toSorted());
    expect(await readdir(dropIns())).toEqual(['90-kata-operator-kata.conf']);
    expect(await install('kata-fc', 'kata-qemu')).toEqual([]);
    await install('kata-fc');
    expect(await served()).toEqual([...before, 'kata-fc'].toSorted());
    await run(removeSteps(options()));
    expect(await served()).toEqual(before);
    expect(await readdir(dropIns())).toEqual([]);
    expect(await readdir(join(dropIns(), '..'))).toEqual(['crio.conf', 'crio.conf.d']);
    expect(await sha256(crio.engine().configPath)).toBe(original);
    expect([crio.reloads, crio.restarts]).toEqual([3, 0]);
    expect(store.record).toBeUndefined();
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
  ])('refuses a file $name, and changes nothing', async ({ text, says, last }) => {
    const theirs = join(dropIns(), last === true ? '99-theirs.conf' : '10-theirs.conf');
    await writeFile(theirs, text);
    const names = await readdir(dropIns());
    const error = await failureOf(install('kata-fc'));
    expect(error.message).toContain(says);
    expect(await readdir(dropIns())).toEqual(names);
    expect(await readdir(join(dropIns(), '..'))).toEqual(['crio.conf', 'crio.conf.d']);
    expect(crio.reloads).toBe(0);
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
