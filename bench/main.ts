/**
 * `npm run bench -- NAME`: runs one benchmark on the real parts, prints a table, and writes
 * `bench/results/NAME.json` with the raw samples beside it. A benchmark never asserts; `met` tells.
 */
import { Progress, stderrLog } from '../e2e/cluster/progress.ts';
import { artifacts } from './artifacts.ts';
import { crash } from './crash.ts';
import { fuzz } from './fuzz.ts';
import { node } from './node.ts';
import { printTable, writeResult, type Benchmark } from './result.ts';
import { walkingPath } from './walkingPath.ts';

const BENCHMARKS: Readonly<Record<string, Benchmark>> = {
  artifacts,
  crash,
  fuzz,
  node,
  'walking-path': walkingPath,
};

async function main(name?: string, ...args: readonly string[]): Promise<void> {
  const benchmark = name === undefined ? undefined : BENCHMARKS[name];
  if (name === undefined || benchmark === undefined) {
    throw new Error(
      `usage: npm run bench -- NAME, with NAME one of ${Object.keys(BENCHMARKS).join(', ')}`,
    );
  }
  const measured = await benchmark(new Progress(stderrLog), args);
  const file = await writeResult(name, measured);
  printTable(name, measured.figures);
  process.stdout.write(`\n${file}\n`);
}

main(...process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
