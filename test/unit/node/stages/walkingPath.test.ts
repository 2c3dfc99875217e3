import { readFile, stat, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { activate } from '../../../../src/node/stages/activate.ts';
import { preflight } from '../../../../src/node/stages/preflight.ts';
import { remove } from '../../../../src/node/stages/remove.ts';
import { stage } from '../../../../src/node/stages/stage.ts';
import type { StageContext } from '../../../../src/node/stages/context.ts';
import { kataTree, writeTree } from '../fixtures/archives.ts';
import {
  ENGINE_CONFIG,
  FileEngine,
  ORIGINAL_CONFIG,
  bundle,
  contextOf,
  planOf,
  snapshot,
  temporaryHost,
} from '../fixtures/host.ts';

async function fresh(
  change: Partial<StageContext> = {},
): Promise<{ context: StageContext; engine: FileEngine }> {
  const engine = new FileEngine();
  const context = contextOf(await temporaryHost(), {
    engine: engine.port,
    bundleDirectory: await bundle(),
    ...change,
  });
  return { context, engine };
}

async function applyAll(context: StageContext) {
  expect(await preflight(context)).toMatchObject({ outcome: 'done' });
  const staged = await stage(context);
  expect(staged).toMatchObject({ outcome: 'done' });
  return { staged, activated: await activate(context) };
}

describe('from a plan to served handlers', () => {
  it('goes on although another revision was staged in between', async () => {
    const { context } = await fresh();
    expect(await stage(context)).toMatchObject({ outcome: 'done' });
    const other = { ...context, attempt: 'other', plan: planOf({ revision: 'r2' }) };
    expect(await stage(other)).toMatchObject({ outcome: 'done' });
    expect((await activate(context)).result).toMatchObject({ outcome: 'done' });
    expect((await activate(other)).result).toMatchObject({ outcome: 'done' });
  });

  it('unpacks a version, writes a configuration per handler and restarts the engine once', async () => {
    const { context, engine } = await fresh();
    const { staged, activated } = await applyAll(context);
    const digest = staged.facts.artifacts?.digest ?? '';
    expect(activated.result).toMatchObject({
      outcome: 'done',
      handlers: ['kata-fc', 'kata-qemu'],
      engineRestarts: 1,
      outageMs: 100,
    });
    expect(engine.loaded).toEqual(['kata-fc', 'kata-qemu']);
    const fc = await readFile(
      context.host.at('/opt/kata/revisions/r1/kata-fc/configuration.toml'),
      'utf8',
    );
    expect(fc).toContain(`path = "/opt/kata/versions/${digest}/bin/firecracker"`);
    expect(fc).toContain(
      `image = '/opt/kata/versions/${digest}/share/kata-containers/kata-containers.img'`,
    );
    expect(fc).toContain('# "/opt/kata/bin/other"');
    expect(fc).toContain('#jailer_path = "/opt/kata/bin/jailer"');
    expect(
      (await stat(context.host.at('/opt/kata/revisions/r1/kata-fc/config.d'))).isDirectory(),
    ).toBe(true);
    expect((await stat(context.host.at('/opt/kata/current/bin/firecracker'))).mode & 0o777).toBe(
      0o755,
    );
  });

  it('starts QEMU by a script that names its data directory', async () => {
    const { context } = await fresh();
    const { staged } = await applyAll(context);
    const version = `/opt/kata/versions/${staged.facts.artifacts?.digest ?? ''}`;
    const wrapper = '/opt/kata/revisions/r1/kata-qemu/bin/qemu-system-x86_64';
    expect(await readFile(context.host.at(wrapper), 'utf8')).toContain(
      `exec ${version}/bin/qemu-system-x86_64 -L ${version}/share/kata-qemu/qemu "$@"`,
    );
    const configuration = await readFile(
      context.host.at('/opt/kata/revisions/r1/kata-qemu/configuration.toml'),
      'utf8',
    );
    expect(configuration).toContain(`path = "${wrapper}"`);
    expect(configuration).toContain(`valid_hypervisor_paths = ["${wrapper}"]`);
    expect(configuration).toContain(`virtio_fs_daemon = "${version}/libexec/virtiofsd"`);
  });

  it('changes nothing and restarts nothing when it is run again', async () => {
    const { context, engine } = await fresh();
    await applyAll(context);
    const before = await snapshot(context.host.at('/opt/kata/versions'));
    const { staged, activated } = await applyAll({ ...context, attempt: 'attempt-2' });
    expect(staged).toMatchObject({ outcome: 'done', bytesWritten: 0 });
    expect(activated.result).toMatchObject({ outcome: 'done', bytesWritten: 0, engineRestarts: 0 });
    expect(activated.result.steps.filter(({ changed }) => changed)).toEqual([]);
    expect(engine.restarts).toBe(1);
    expect(await snapshot(context.host.at('/opt/kata/versions'))).toEqual(before);
  });

  it('gives the same version for the same tree on the host, and serves the default handler', async () => {
    const host = await temporaryHost();
    const tree = '/srv/kata';
    await writeTree(host.at(tree), kataTree());
    const engine = new FileEngine();
    const plan = planOf({ artifacts: { kind: 'hostPath', path: tree }, defaultRuntime: 'kata-fc' });
    const { activated } = await applyAll(contextOf(host, { engine: engine.port, plan }));
    expect(activated.result).toMatchObject({
      outcome: 'done',
      handlers: ['kata-fc', 'kata-qemu', 'kata'],
    });
    const config = await readFile(host.at(ENGINE_CONFIG), 'utf8');
    expect(config).toContain('#kata kata /opt/kata/versions/');
    expect(config).toContain('/opt/kata/revisions/r1/kata-fc/configuration.toml\n');
  });

  it('takes archives from a directory of the host, passing over those of other architectures', async () => {
    const host = await temporaryHost();
    const archives = await bundle();
    await writeTree(host.at('/srv/archives'), {
      'kata-static-4.1.0-amd64.tar.zst': {
        content: await readFile(`${archives}/kata-static.tar.zst`),
      },
      'kata-static-4.1.0-arm64.tar.zst': { content: 'not even an archive' },
    });
    const plan = planOf({ artifacts: { kind: 'hostPath', path: '/srv/archives' } });
    const { activated } = await applyAll(contextOf(host, { plan }));
    expect(activated.result.outcome).toBe('done');
  });
});

describe('the default handler', () => {
  it('is left out and named when the runtime that it copies is left out', async () => {
    const { context } = await fresh({ plan: planOf({ defaultRuntime: 'kata-clh' }) });
    const { activated } = await applyAll(context);
    expect(activated.result).toMatchObject({
      outcome: 'done',
      handlers: ['kata-fc', 'kata-qemu'],
      skippedHandlers: ['kata'],
    });
  });
});

describe('remove', () => {
  it('leaves the host as it was before the first run', async () => {
    const { context, engine } = await fresh();
    const before = await snapshot(context.host.root);
    await applyAll(context);
    expect(await remove(context)).toMatchObject({ outcome: 'done', engineRestarts: 1 });
    expect(await snapshot(context.host.root)).toEqual(before);
    expect(engine.loaded).toEqual([]);
  });

  it('touches nothing of another installer below /opt/kata', async () => {
    const { context } = await fresh();
    await writeTree(context.host.at('/opt/kata'), {
      'bin/kata-runtime': { content: 'theirs', mode: 0o755 },
    });
    const before = await snapshot(context.host.root);
    await applyAll(context);
    await remove(context);
    expect(await snapshot(context.host.root)).toEqual(before);
  });

  it('is done on a host where nothing was ever installed, and leaves no trace', async () => {
    const { context } = await fresh();
    const before = await snapshot(context.host.root);
    expect(await remove(context)).toMatchObject({
      outcome: 'done',
      engineRestarts: 0,
      bytesWritten: 0,
    });
    expect(await snapshot(context.host.root)).toEqual(before);
  });

  it('is refused to a KataDeployment that does not have the node', async () => {
    const { context } = await fresh();
    await applyAll(context);
    const result = await remove({ ...context, plan: planOf({ deployment: 'other' }) });
    expect(result).toMatchObject({ outcome: 'refused', error: { code: 'KATA_E_NODE_CONFLICT' } });
    expect(await readFile(context.host.at(ENGINE_CONFIG), 'utf8')).not.toBe(ORIGINAL_CONFIG);
  });
});

describe('a failed activation', () => {
  it('is refused when the engine rejects the candidate, and everything is as before', async () => {
    const { context, engine } = await fresh();
    await stage(context);
    const before = await snapshot(context.host.at('/opt/kata/revisions'));
    engine.failAt = 'EngineConfiguration';
    const { result } = await activate(context);
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ENGINE_REJECTED_CONFIG', step: 'EngineConfiguration' },
    });
    expect(await snapshot(context.host.at('/opt/kata/revisions'))).toEqual(before);
    expect(await readFile(context.host.at(ENGINE_CONFIG), 'utf8')).toBe(ORIGINAL_CONFIG);
    expect(engine.loaded).toEqual([]);
  });

  it('is rolled back when the engine does not come back, and is not tried again under the same attempt', async () => {
    const { context, engine } = await fresh();
    await stage(context);
    engine.failRestart = true;
    const { result } = await activate(context);
    expect(result).toMatchObject({
      outcome: 'rolledBack',
      error: { code: 'KATA_E_ENGINE_RESTART', step: 'EngineRestart' },
    });
    expect(await readFile(context.host.at(ENGINE_CONFIG), 'utf8')).toBe(ORIGINAL_CONFIG);
    engine.failRestart = false;
    expect((await activate(context)).result).toEqual(result);
    expect(await readFile(context.host.at(ENGINE_CONFIG), 'utf8')).toBe(ORIGINAL_CONFIG);
    expect((await activate({ ...context, attempt: 'attempt-2' })).result.outcome).toBe('done');
  });

  it('that was only stopped goes on when its containers are started again', async () => {
    const { context, engine } = await fresh();
    await stage(context);
    const stop = new AbortController();
    const stopped = await activate({
      ...context,
      signal: stop.signal,
      observe: (step) => {
        if (step === 'EngineConfiguration') stop.abort();
      },
    });
    expect(stopped.result).toMatchObject({
      outcome: 'rolledBack',
      error: { code: 'KATA_E_INTERRUPTED', step: 'EngineRestart' },
    });
    expect(await readFile(context.host.at(ENGINE_CONFIG), 'utf8')).toBe(ORIGINAL_CONFIG);
    expect((await activate(context)).result).toMatchObject({ outcome: 'done' });
    expect(engine.loaded).toEqual(['kata-fc', 'kata-qemu']);
  });

  it('says so when nothing is staged', async () => {
    const { context } = await fresh();
    expect((await activate(context)).result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ARTIFACT_NOT_FOUND' },
    });
    await stage(context);
    const other = await activate({ ...context, plan: planOf({ revision: 'r2' }) });
    expect(other.result).toMatchObject({ outcome: 'refused', error: { step: 'StagedVersion' } });
  });
});

describe('preflight', () => {
  it('finds a configuration of the engine that does not parse, and writes nothing', async () => {
    const { context } = await fresh();
    await writeFile(context.host.at(ENGINE_CONFIG), 'version =\n');
    const before = await snapshot(context.host.root);
    expect(await preflight(context)).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ENGINE_CONFIG_INVALID', step: 'EngineConfiguration' },
    });
    expect(await snapshot(context.host.root)).toEqual(before);
  });

  it('calls a node without KVM unsupported, with the fact for its label, and still tells what engine it has', async () => {
    const { context } = await fresh({
      plan: planOf({ requireKVM: true }),
      probeKvm: () => Promise.resolve({ usable: false, cause: 'no device' }),
    });
    expect(await preflight(context)).toMatchObject({
      outcome: 'unsupported',
      error: { code: 'KATA_E_NO_KVM', step: 'KVM', message: 'KVM cannot be used: no device' },
      facts: {
        kvm: { usable: false, cause: 'no device' },
        arch: 'amd64',
        engine: { version: '2.4.2' },
      },
    });
  });
});
