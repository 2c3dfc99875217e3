/**
 * `npm run bench -- artifacts`: what it costs to bring a release to a host, beside `tar --zstd -x` and `sync` of
 * the same archives in the same minutes; an upgrade in which one of eight archives changed; nothing to do.
 *
 * The program is the one of the node image; the host is a directory on this disk. tar and the program take
 * turns, so that neither has the warmer memory.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { bundle } from '../build/bundle.ts';
import { compileHelper } from '../build/helper.ts';
import { nodeBinary } from '../build/imageTree.ts';
import { REPOSITORY } from '../e2e/cluster/paths.ts';
import { run } from '../e2e/cluster/process.ts';
import type { Progress } from '../e2e/cluster/progress.ts';
import { watchPeak } from '../test/integration/support/kataNodeProgram.ts';
import { benchArchives, type Bundle } from './artifacts/archives.ts';
import { figure, median, type Measured } from './result.ts';

const RUNS = 5;
const RUN_TIMEOUT_MS = 120_000;

interface Staged {
  readonly seconds: number;
  readonly workMs: number;
  readonly bytesWritten: number;
  readonly peakMiB: number;
}

interface Round {
  readonly tarSeconds: number;
  readonly cold: Staged;
  readonly upgrade: Staged;
  readonly noop: Staged;
}

export async function artifacts(progress: Progress): Promise<Measured> {
  const { first, second, changedBytes } = await benchArchives(progress);
  const directory = await mkdtemp(join(tmpdir(), 'kata-bench-artifacts-'));
  try {
    const program = join(directory, 'kata-node.mjs');
    await bundle(join(REPOSITORY, 'src/node/main.ts'), program, { sourceMap: false });
    await compileHelper(join(directory, 'kata-helper'));
    await writeFile(join(directory, 'plan.json'), JSON.stringify(PLAN));
    const rounds: Round[] = [];
    for (let index = 1; index <= RUNS; index += 1)
      rounds.push(
        await progress.step(`round ${index} of ${RUNS}`, () => round(directory, first, second)),
      );
    return { runs: RUNS, raw: rounds, figures: figures(rounds, changedBytes) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function figures(rounds: readonly Round[], changedBytes: number): Measured['figures'] {
  const of = (pick: (round: Round) => number): number => median(rounds.map(pick));
  const peaks = rounds.flatMap(({ cold, upgrade, noop }) => [cold, upgrade, noop]);
  return [
    figure(
      'tar --zstd -x and sync (median)',
      of(({ tarSeconds }) => tarSeconds),
      's',
      null,
    ),
    figure(
      'cold install of the archives (median)',
      of(({ cold }) => cold.seconds),
      's',
      5,
    ),
    figure(
      'cold install, as a multiple of tar and sync (median of the rounds)',
      of(({ cold, tarSeconds }) => cold.seconds / tarSeconds),
      'x',
      1.3,
    ),
    figure(
      'upgrade, one of eight archives changed (median)',
      of((r) => r.upgrade.seconds),
      's',
      1.5,
    ),
    figure(
      'upgrade, bytes written as a multiple of what changed (worst)',
      Math.max(...rounds.map(({ upgrade }) => upgrade.bytesWritten)) / changedBytes,
      'x',
      1.2,
    ),
    figure(
      'nothing to do, work (median)',
      of(({ noop }) => noop.workMs),
      'ms',
      100,
    ),
    figure(
      'nothing to do, bytes of artifacts written',
      Math.max(...rounds.map(({ noop }) => noop.bytesWritten)),
      'B',
      0,
    ),
    figure('peak memory (worst)', Math.max(...peaks.map(({ peakMiB }) => peakMiB)), 'MiB', 128),
  ];
}

async function round(directory: string, first: Bundle, second: Bundle): Promise<Round> {
  const tarSeconds = await timeTar(join(directory, 'tar'), first);
  const root = join(directory, 'host');
  await rm(root, { recursive: true, force: true });
  for (const path of ['etc', 'opt', 'run/lock']) await mkdir(join(root, path), { recursive: true });
  await run(['sync'], { timeoutMs: RUN_TIMEOUT_MS });
  const cold = await stage(directory, root, first);
  const upgrade = await stage(directory, root, second);
  const noop = await stage(directory, root, second);
  return { tarSeconds, cold, upgrade, noop };
}

async function timeTar(directory: string, { archives }: Bundle): Promise<number> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory);
  await run(['sync'], { timeoutMs: RUN_TIMEOUT_MS });
  const startMs = performance.now();
  for (const archive of archives)
    await run(['tar', '--zstd', '-xf', archive, '-C', directory], { timeoutMs: RUN_TIMEOUT_MS });
  await run(['sync'], { timeoutMs: RUN_TIMEOUT_MS });
  const seconds = (performance.now() - startMs) / 1000;
  await rm(directory, { recursive: true });
  return seconds;
}

const stageResult = z.object({
  outcome: z.literal('done'),
  steps: z.array(z.object({ ms: z.number() })),
  bytesWritten: z.number(),
});

/** From the start of the program to its end. */
async function stage(directory: string, root: string, bundled: Bundle): Promise<Staged> {
  const startMs = performance.now();
  const child = spawn(
    nodeBinary(),
    [
      ...[join(directory, 'kata-node.mjs'), 'stage', '--plan', join(directory, 'plan.json')],
      ...['--root', root, '--artifacts', bundled.directory, '--output', 'json'],
    ],
    {
      env: { ...process.env, KATA_HELPER: join(directory, 'kata-helper') },
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: RUN_TIMEOUT_MS,
    },
  );
  let isRunning = true;
  const peak = watchPeak(child.pid ?? 0, () => isRunning);
  const output = await text(child.stdout);
  const seconds = (performance.now() - startMs) / 1000;
  isRunning = false;
  const { steps, bytesWritten } = stageResult.parse(JSON.parse(output));
  const workMs = steps.reduce((sum, { ms }) => sum + ms, 0);
  return { seconds, workMs, bytesWritten, peakMiB: await peak };
}

const PLAN = {
  planVersion: 1,
  deployment: 'bench',
  revision: '1',
  artifacts: { kind: 'bundled' },
  requireKVM: false,
  runtimes: [
    {
      handler: 'kata-qemu',
      base: 'qemu',
      hypervisor: 'qemu',
      shimPath: 'bin/containerd-shim-kata-v2',
      configurationPath: 'share/defaults/kata-containers/configuration-qemu.toml',
      architectures: ['amd64'],
      podAnnotations: [],
      required: true,
    },
  ],
  engine: { type: 'Auto', restart: 'WhenNeeded' },
};
