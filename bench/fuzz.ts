/**
 * `npm run bench -- fuzz [--minutes 10] [--seed 1] [--target NAME] [--path PATH]`: random and damaged files for
 * the editors, each target for that long. The same seed gives the same inputs; a failure tells how to repeat it.
 */
import { parseArgs } from 'node:util';
import type { Progress } from '../e2e/cluster/progress.ts';
import { fuzzFor, type FuzzRun, type FuzzTarget } from '../test/fuzz/target.ts';
import { FUZZ_TARGETS, JUDGED_TARGETS } from '../test/fuzz/targets.ts';
import { figure, type Measured } from './result.ts';

const TARGETS = [...FUZZ_TARGETS, ...JUDGED_TARGETS];
const ONE_INPUT_TIMEOUT_MS = 600_000;

interface Options {
  readonly durationMs: number;
  readonly seed: number;
  readonly targets: readonly FuzzTarget[];
  readonly path?: string;
}

export async function fuzz(progress: Progress, args: readonly string[]): Promise<Measured> {
  const options = optionsOf(args);
  const runs: (FuzzRun & { readonly target: string; readonly seconds: number })[] = [];
  for (const target of options.targets) {
    const startedMs = performance.now();
    const run = await progress.step(`fuzz ${target.name}`, () => runTarget(target, options));
    if (run.failure !== undefined) process.stderr.write(`\n${run.failure}\n`);
    const seconds = (performance.now() - startedMs) / 1000;
    runs.push({ target: target.name, seconds, ...run });
  }
  return {
    runs: runs.length,
    raw: { seed: options.seed, runs },
    figures: runs.flatMap(({ target, inputs, seconds, failure }) => [
      figure(`${target}: inputs`, inputs, '', null, 'higher'),
      figure(`${target}: time`, seconds / 60, 'min', null, 'higher'),
      figure(`${target}: failures`, failure === undefined ? 0 : 1, '', 0),
    ]),
  };
}

function runTarget(target: FuzzTarget, { seed, durationMs, path }: Options): Promise<FuzzRun> {
  return path === undefined
    ? fuzzFor(target, seed, durationMs)
    : target.run({ seed, path, inputs: 1, timeoutMs: ONE_INPUT_TIMEOUT_MS });
}

function optionsOf(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '10' },
      seed: { type: 'string', default: '1' },
      target: { type: 'string' },
      path: { type: 'string' },
    },
  });
  const targets = TARGETS.filter(
    ({ name }) => values.target === undefined || values.target === name,
  );
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  if (targets.length === 0 || !(minutes > 0) || !Number.isSafeInteger(seed))
    throw new Error(
      `usage: npm run bench -- fuzz [--minutes N] [--seed N] [--target NAME] [--path PATH], with NAME one of ${TARGETS.map(({ name }) => name).join(', ')}`,
    );
  return {
    durationMs: minutes * 60_000,
    seed,
    targets,
    ...(values.path === undefined ? {} : { path: values.path }),
  };
}
