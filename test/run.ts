/**
 * Runs the test suites one after the other and prints the counts of all of them at the end.
 * A suite that runs no test has failed. Results of vitest come from its JSON reporter, not from its text.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';

const PROJECTS = ['unit', 'integration', 'e2e'] as const;
type Project = (typeof PROJECTS)[number];

const vitestReport = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number(),
});

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

interface Outcome extends Counts {
  readonly name: string;
  readonly seconds: number;
}

const ROOT = join(import.meta.dirname, '..');
/** No suite may hang a machine: more than twice what the slowest takes when nothing is cached. */
const SUITE_TIMEOUT_MS = 60 * 60_000;

async function main(which: string | undefined): Promise<void> {
  const projects: readonly Project[] = which === 'unit' ? ['unit'] : PROJECTS;
  const outcomes: Outcome[] = [];
  if (which !== 'unit') {
    outcomes.push(await check('types', ['tsc', '--noEmit']));
    outcomes.push(await check('lint', ['eslint', '.']));
    outcomes.push(await check('format', ['prettier', '--check', '--log-level', 'warn', '.']));
  }
  if (which !== 'unit') {
    // What the other suites stand on, built before them so that no test's deadline pays for it.
    outcomes.push(await check('build', ['node', 'e2e/main.ts', 'build']));
  }
  for (const project of projects) outcomes.push(await suite(project));
  summarize(outcomes);
}

/** A check counts as one test. */
async function check(name: string, argv: readonly string[]): Promise<Outcome> {
  const startedMs = performance.now();
  const code = await run(argv);
  return {
    name,
    passed: code === 0 ? 1 : 0,
    failed: code === 0 ? 0 : 1,
    skipped: 0,
    seconds: since(startedMs),
  };
}

async function suite(project: Project): Promise<Outcome> {
  const startedMs = performance.now();
  const directory = await mkdtemp(join(tmpdir(), 'kata-operator-test-'));
  try {
    const file = join(directory, 'report.json');
    const code = await run([
      'vitest',
      'run',
      '--project',
      project,
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${file}`,
    ]);
    const counts = await readCounts(file);
    // A file that does not even load has no tests to count as failed.
    const failed = counts.failed === 0 && (code !== 0 || counts.passed === 0) ? 1 : counts.failed;
    return { ...counts, failed, name: project, seconds: since(startedMs) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function readCounts(file: string): Promise<Counts> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return { passed: 0, failed: 0, skipped: 0 };
  const report = vitestReport.parse(JSON.parse(text));
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** The exit code; output goes to the terminal. */
function run(argv: readonly string[]): Promise<number> {
  const [program = '', ...args] = argv;
  process.stdout.write(`\n──── ${argv.slice(0, 4).join(' ')}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: ROOT,
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: SUITE_TIMEOUT_MS,
    });
    child.once('error', reject);
    child.once('exit', (code) => {
      resolve(code ?? 1);
    });
  });
}

function summarize(outcomes: readonly Outcome[]): void {
  const total = (of: (outcome: Outcome) => number): number =>
    outcomes.reduce((sum, outcome) => sum + of(outcome), 0);
  const line = ({ passed, failed, skipped }: Counts): string =>
    `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  process.stdout.write('\n');
  for (const outcome of outcomes) {
    process.stdout.write(`${outcome.name.padEnd(12)} ${line(outcome)} in ${outcome.seconds} s\n`);
  }
  process.stdout.write(
    `${line({ passed: total((o) => o.passed), failed: total((o) => o.failed), skipped: total((o) => o.skipped) })}\n`,
  );
  if (total((o) => o.failed) > 0) process.exitCode = 1;
}

function since(startedMs: number): number {
  return Math.round((performance.now() - startedMs) / 1000);
}

await main(process.argv[2]);
