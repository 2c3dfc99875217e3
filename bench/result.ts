/** The one form of all published figures. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { arch, cpus, loadavg, release, totalmem } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import type { Progress } from '../e2e/cluster/progress.ts';

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What we want to reach; null where a figure is only told. */
  readonly bar: number | null;
  readonly better: 'lower' | 'higher';
  readonly met: boolean | null;
}

export interface Measured {
  readonly runs: number;
  readonly figures: readonly Figure[];
  /** Every sample, for those who want to look closer. */
  readonly raw: unknown;
}

/** `args`: what stands behind the name on the command line. */
export type Benchmark = (progress: Progress, args: readonly string[]) => Promise<Measured>;

const RESULTS = join(import.meta.dirname, 'results');

export function figure(
  name: string,
  value: number,
  unit: string,
  bar: number | null,
  better: Figure['better'] = 'lower',
): Figure {
  const met = bar === null ? null : better === 'lower' ? value <= bar : value >= bar;
  return { name, value: Math.round(value * 1000) / 1000, unit, bar, better, met };
}

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle];
  if (upper === undefined) throw new Error('no samples');
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}

/** Of at least `fraction` of the samples it is true that they are not larger. */
export function percentile(samples: readonly number[], fraction: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil(fraction * sorted.length) - 1)];
  if (value === undefined) throw new Error('no samples');
  return value;
}

export async function writeResult(name: string, measured: Measured): Promise<string> {
  await mkdir(join(RESULTS, 'raw'), { recursive: true });
  const { stdout } = await promisify(execFile)('git', ['rev-parse', '--short', 'HEAD']).catch(
    () => ({ stdout: 'unknown' }),
  );
  const result = {
    name,
    date: new Date().toISOString(),
    commit: stdout.trim(),
    machine: {
      cpus: cpus().length,
      cpu: cpus()[0]?.model ?? '',
      arch: arch(),
      kernel: release(),
      memoryBytes: totalmem(),
      os: await osName(),
      // When it ended: averages of one, five and fifteen minutes.
      load: loadavg().map((average) => Math.round(average * 100) / 100),
    },
    runs: measured.runs,
    figures: measured.figures,
  };
  const file = join(RESULTS, `${name}.json`);
  await writeFile(file, `${JSON.stringify(result, null, 2)}\n`);
  await writeFile(
    join(RESULTS, 'raw', `${name}.json`),
    `${JSON.stringify(measured.raw, null, 2)}\n`,
  );
  return relative(process.cwd(), file);
}

async function osName(): Promise<string> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '');
  return /^PRETTY_NAME="(.*)"$/m.exec(text)?.[1] ?? '';
}

export function printTable(name: string, figures: readonly Figure[]): void {
  const rows = figures.map(({ name: what, value, unit, bar, better, met }) => [
    what,
    `${value} ${unit}`,
    bar === null ? '' : `${better === 'lower' ? '≤' : '≥'} ${bar} ${unit}`,
    met === null ? '' : met ? 'met' : 'NOT MET',
  ]);
  const widths = [0, 1, 2].map((column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  process.stdout.write(`\n${name}\n`);
  for (const row of rows)
    process.stdout.write(
      `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}\n`,
    );
}
