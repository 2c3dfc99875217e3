/**
 * `npm run bench -- fuzz [--minutes 10] [--seed 1] [--target NAME] [--path PATH]`: random and damaged files for
 * the editors, all targets side by side for that long. The same seed gives the same inputs; a failure tells how
 * to repeat it. With --target, what was published of the others stays.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import type { Progress } from '../e2e/cluster/progress.ts';
import type { FuzzRun } from '../test/fuzz/target.ts';
import { TARGETS, type ThreadOptions } from './fuzzThread.ts';
import { figure, type Measured } from './result.ts';

const RAW = join(import.meta.dirname, 'results/raw/fuzz.json');
/** After its time, a target may end the input that it has begun and make a failure smaller. */
const GRACE_MS = 120_000;

const fuzzed = z.object({
  target: z.string(),
  date: z.string().optional(),
  seed: z.int(),
  durationMs: z.number(),
  seconds: z.number(),
  inputs: z.int(),
  outcomes: z.record(z.string(), z.int()),
  failure: z.string().optional(),
});
type Fuzzed = z.infer<typeof fuzzed>;

export async function fuzz(progress: Progress, args: readonly string[]): Promise<Measured> {
  const options = optionsOf(args);
  const runs = await Promise.all(
    options.map(async (option): Promise<Fuzzed> => {
      const startedMs = performance.now();
      const run = await progress.step(`fuzz ${option.target}`, () => inThread(option));
      if (run.failure !== undefined) process.stderr.write(`\n${run.failure}\n`);
      const seconds = (performance.now() - startedMs) / 1000;
      const date = new Date().toISOString();
      return { ...option, ...run, outcomes: { ...run.outcomes }, seconds, date };
    }),
  );
  const all = [...(await others(options)), ...runs];
  return {
    runs: all.length,
    raw: all,
    figures: all.flatMap(({ target, inputs, seconds, failure }) => [
      figure(`${target}: inputs`, inputs, '', null, 'higher'),
      figure(`${target}: time`, seconds / 60, 'min', null, 'higher'),
      figure(`${target}: failures`, failure === undefined ? 0 : 1, '', 0),
    ]),
  };
}

/** What was published of targets that were not asked for. */
async function others(asked: readonly ThreadOptions[]): Promise<Fuzzed[]> {
  const text = await readFile(RAW, 'utf8').catch(() => '[]');
  return z
    .array(fuzzed)
    .parse(JSON.parse(text))
    .filter(({ target }) => TARGETS.some(({ name }) => name === target))
    .filter(({ target }) => !asked.some((option) => option.target === target));
}

async function inThread(options: ThreadOptions): Promise<FuzzRun> {
  const worker = new Worker(new URL('./fuzzThread.ts', import.meta.url), { workerData: options });
  try {
    const signal = AbortSignal.timeout(options.durationMs + GRACE_MS);
    const [run] = (await once(worker, 'message', { signal })) as [FuzzRun];
    return run;
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    return { inputs: 0, outcomes: {}, failure: `${options.target}: did not end: ${cause}` };
  } finally {
    await worker.terminate();
  }
}

function optionsOf(args: readonly string[]): ThreadOptions[] {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '10' },
      seed: { type: 'string', default: '1' },
      target: { type: 'string' },
      path: { type: 'string' },
    },
  });
  const all = TARGETS.map(({ name }) => name);
  const names = values.target === undefined ? all : all.filter((name) => name === values.target);
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  if (names.length === 0 || !(minutes > 0) || !Number.isSafeInteger(seed))
    throw new Error(
      `usage: npm run bench -- fuzz [--minutes N] [--seed N] [--target NAME] [--path PATH], with NAME one of ${all.join(', ')}`,
    );
  return names.map((target) => ({
    target,
    seed,
    durationMs: minutes * 60_000,
    ...(values.path === undefined ? {} : { path: values.path }),
  }));
}
