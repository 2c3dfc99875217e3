/**
 * The run after one that was killed, and runs that ask for less than before, with a clock that jumps, or for artifacts
 * that are not all there: what each writes and restarts, counted.
 */
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CrashHost, type Interruption } from '../../bench/crash/host.ts';
import { BLOCK } from '../../bench/crash/machines.ts';
import type { DiskCall } from '../../bench/crash/shim.ts';
import { prepareTools } from '../../bench/crash/tools.ts';
import { run, succeed } from './support/run.ts';

let tools: Awaited<ReturnType<typeof prepareTools>>;
let host: CrashHost;
let undisturbed: readonly DiskCall[];

beforeAll(async () => {
  tools = await prepareTools();
  host = await CrashHost.create(tools, BLOCK);
  await host.keep('clean');
  undisturbed = (await host.kataNode(['apply'], 'r1')).calls;
  await host.kataNode(['apply'], 'r2');
  await host.keep('r2');
});
afterAll(async () => {
  await host.dispose();
  await tools.dispose();
});

/** An installation that is killed, and the one that follows. */
async function resumed(interruption: Interruption) {
  await host.bringBack('clean');
  expect((await host.kataNode(['apply'], 'r1', interruption)).killed).toBe(true);
  const restartsBefore = host.engine.restarts;
  const again = await host.kataNode(['apply'], 'r1');
  return { ...again, restarts: host.engine.restarts - restartsBefore };
}

/** The call behind the one that has given this name: the name is there, and its directory is flushed. */
function after(path: RegExp): number {
  const named = undisturbed.find((call) => call.name === 'rename' && path.test(call.path));
  return (named?.number ?? 0) + 2;
}

describe('the run after one that was killed', () => {
  test('when its version was complete, unpacks nothing again', async () => {
    const { result, calls } = await resumed({ at: after(/versions\/\w+$/), fault: 'kill' });
    expect(result?.outcome).toBe('done');
    expect(result?.steps).toContainEqual(
      expect.objectContaining({ name: 'Artifacts', changed: false }),
    );
    expect(calls.filter(({ path }) => path.startsWith('/opt/kata/versions/'))).toEqual([]);
    expect(host.served()).toEqual(['kata-fc']);
  });

  test('when the file had changed and the engine was not restarted, restarts it once', async () => {
    const { result, restarts } = await resumed({ at: after(/config\.toml$/), fault: 'kill' });
    expect([result?.outcome, restarts]).toEqual(['done', 1]);
    expect(host.served()).toEqual(['kata-fc']);
  });

  test('when the engine was restarted, restarts it no more', async () => {
    const { result, restarts } = await resumed({ restart: 'done' });
    expect([result?.outcome, restarts]).toEqual(['done', 0]);
    expect(host.served()).toEqual(['kata-fc']);
  });
});

test("the engine's file has the old bytes or the new ones at every call that replaces it, and both start the engine", async () => {
  await host.bringBack('clean');
  const original = await host.config();
  await host.kataNode(['apply'], 'r1');
  const known = [original, await host.config()];
  const places = undisturbed
    .filter(({ path }) => /^\/etc\/containerd(\/(?!.*candidate)|$)/.test(path))
    .filter(({ name }) => ['write', 'fsync', 'rename'].includes(name));
  expect(new Set(places.map(({ name }) => name)).size).toBe(3);
  for (const { number, name } of places) {
    await host.bringBack('clean');
    const fault = name === 'write' ? 'torn' : 'kill';
    expect((await host.kataNode(['apply'], 'r1', { at: number, fault })).killed).toBe(true);
    expect(known).toContain(await host.config());
    expect(await host.engine.start()).toBe(true);
  }
  expect((await host.kataNode(['apply'], 'r1')).result?.outcome).toBe('done');
  expect(await host.config()).toBe(known[1]);
});

test('an older revision is applied over a newer one in the same way, with one restart', async () => {
  await host.bringBack('r2');
  const restartsBefore = host.engine.restarts;
  const { result } = await host.kataNode(['apply'], 'r1');
  expect(result).toMatchObject({ outcome: 'done', facts: { artifacts: { version: '4.0.0' } } });
  expect(host.engine.restarts - restartsBefore).toBe(1);
  expect(host.served()).toEqual(['kata-fc']);
});

test('an archive that is missing is found before another one is unpacked', async () => {
  await host.bringBack('clean');
  const index = join(tools.artifacts.r1, 'index.json');
  const original = await readFile(index, 'utf8');
  const { archives } = JSON.parse(original) as { archives: object[] };
  const missing = { ...archives[0], file: 'tools.tar.zst', sha256: 'a'.repeat(64) };
  await writeFile(index, JSON.stringify({ archives: [...archives, missing] }));
  try {
    const { result, calls } = await host.kataNode(['apply'], 'r1');
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ARTIFACT_NOT_FOUND', step: 'ArtifactSource' },
    });
    expect(result?.error?.message).toContain('tools.tar.zst');
    expect(calls).toEqual([]);
  } finally {
    await writeFile(index, original);
  }
});

test.for([
  { name: 'an hour forth', seconds: 3600 },
  { name: 'an hour back', seconds: -3600 },
])('a clock that jumps $name in the middle of a run changes nothing', async ({ seconds }) => {
  await host.bringBack('clean');
  const library = join(tools.directory, 'clock.so');
  const source = join(import.meta.dirname, 'support/clockJump.c');
  await succeed(run('gcc', ['-O2', '-shared', '-fPIC', '-o', library, source, '-ldl']));
  const args = [tools.program, 'apply', '--plan', tools.plans.r1, '--root', host.root];
  const child = spawn(
    process.execPath,
    [...args, '--artifacts', tools.artifacts.r1, '--output', 'json'],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: {
        PATH: process.env['PATH'] ?? '',
        KATA_HELPER: tools.helper,
        LD_PRELOAD: library,
        CLOCK_JUMP_AFTER_MS: '350',
        CLOCK_JUMP_SECONDS: String(seconds),
      },
    },
  );
  expect(JSON.parse(await text(child.stdout))).toMatchObject({
    outcome: 'done',
    engineRestarts: 1,
  });
  expect(host.served()).toEqual(['kata-fc']);
  expect((await host.kataNode(['verify'], 'r1')).result?.outcome).toBe('done');
  expect(await host.config()).toContain('kata-fc');
});
