/** The stages of the node program with a real containerd: the whole way there and back. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import * as engine from '../../src/node/engine/index.ts';
import type { Host } from '../../src/node/host/host.ts';
import { activate } from '../../src/node/stages/activate.ts';
import type { EnginePort, StageContext } from '../../src/node/stages/context.ts';
import { preflight } from '../../src/node/stages/preflight.ts';
import { remove } from '../../src/node/stages/remove.ts';
import { stage } from '../../src/node/stages/stage.ts';
import { kataTree } from '../unit/node/fixtures/archives.ts';
import { bundle, contextOf, planOf, snapshot } from '../unit/node/fixtures/host.ts';
import { sha256, signal, useRelease, type ReleaseUnderTest } from './support/engineRelease.ts';

/** This machine, but for /opt: the engine's binary runs as it is, and nothing of ours gets onto the machine. */
function machineWithOpt(opt: string): Host {
  const isOpt = (path: string): boolean => path === '/opt' || path.startsWith('/opt/');
  return { root: '/', at: (path) => (isOpt(path) ? join(opt, path) : path) };
}

/** The real driver, told which engine to look at and how it is restarted here. */
function portFor(its: ReleaseUnderTest): EnginePort {
  const restarter = { restarter: its.instance };
  return {
    ...engine,
    discoverEngine: () => Promise.resolve(its.engine()),
    installSteps: (options) => engine.installSteps({ ...options, ...restarter }),
    removeSteps: (options) => engine.removeSteps({ ...options, ...restarter }),
  };
}

describe.for(['1.7', '2.4'] as const)('with containerd %s', (release) => {
  const its = useRelease(release);
  let opt: string;
  let context: StageContext;

  beforeEach(async () => {
    await its.running();
    opt = await mkdtemp(join(tmpdir(), 'kata-opt-'));
    context = contextOf(machineWithOpt(opt), {
      engine: portFor(its),
      plan: planOf({ defaultRuntime: 'kata-fc' }),
      bundleDirectory: await bundle(kataTree()),
      signal: signal(),
    });
  });
  afterEach(() => rm(opt, { recursive: true, force: true }));

  test('serves every handler after one restart, nothing more on a second run, and gives everything back', async () => {
    const before = { config: await sha256(its.instance.configPath), opt: await snapshot(opt) };
    expect(await preflight(context)).toMatchObject({ outcome: 'done' });
    expect(await stage(context)).toMatchObject({ outcome: 'done' });
    const { result } = await activate(context);
    expect(result).toMatchObject({
      outcome: 'done',
      handlers: ['kata-fc', 'kata-qemu', 'kata'],
      engineRestarts: 1,
    });
    expect(result.outageMs).toBeGreaterThan(0);
    expect(await readFile(its.instance.configPath, 'utf8')).toContain(
      '/opt/kata/revisions/r1/kata-fc/configuration.toml',
    );

    const again = await activate({ ...context, attempt: 'attempt-2' });
    expect(again.result).toMatchObject({
      outcome: 'done',
      engineRestarts: 0,
      bytesWritten: 0,
      handlers: result.handlers,
    });
    expect(its.instance.restarts).toBe(1);

    expect(await remove(context)).toMatchObject({ outcome: 'done', engineRestarts: 1 });
    expect(await sha256(its.instance.configPath)).toBe(before.config);
    expect(await snapshot(opt)).toEqual(before.opt);
    expect(await engine.servedHandlers(context.host, its.engine(), signal())).not.toContain(
      'kata-fc',
    );
  });

  test('rolls back when the engine does not come back, and the way is free for another attempt', async () => {
    const original = await sha256(its.instance.configPath);
    await stage(context);
    its.instance.failingRestarts = 1;
    const { result } = await activate(context);
    expect(result).toMatchObject({
      outcome: 'rolledBack',
      error: { code: 'KATA_E_ENGINE_RESTART' },
    });
    expect(await sha256(its.instance.configPath)).toBe(original);
    expect(await engine.servedHandlers(context.host, its.engine(), signal())).toContain('runc');
    expect((await activate({ ...context, attempt: 'attempt-2' })).result).toMatchObject({
      outcome: 'done',
    });
  });

  test('refuses a file that does not parse before anything is staged', async () => {
    await its.instance.write('version = 2\n[plugins\n');
    expect(await preflight(context)).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ENGINE_CONFIG_INVALID', step: 'EngineConfiguration' },
    });
    expect(await snapshot(opt)).toEqual({});
    expect(its.instance.restarts).toBe(0);
  });
});
