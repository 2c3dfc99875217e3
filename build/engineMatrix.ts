/**
 * `npm run matrix`: runs the tests that are cells of docs/reference/engine-matrix.md on real engines and writes the
 * table from what became of them. What was not run, and what failed, is in it as such; then the exit code is 1.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import {
  CHECKS,
  ENGINE_MATRIX,
  matrixCell,
  matrixTable,
  type Outcome,
} from '../test/integration/support/engineMatrix.ts';

const ROOT = join(import.meta.dirname, '..');
const TESTS = ['engineMatrix', 'engineCrio'].map((name) => `test/integration/${name}.test.ts`);
const TIMEOUT_MS = 20 * 60_000;

const report = z.object({
  testResults: z.array(
    z.object({
      assertionResults: z.array(
        z.object({
          status: z.string(),
          meta: z.object({ matrix: matrixCell.optional() }).default({}),
        }),
      ),
    }),
  ),
});

/** Those of the cells, and the exit code of the test runner. */
async function runTests(): Promise<{ readonly all: Outcome[]; readonly code: number }> {
  const directory = await mkdtemp(join(tmpdir(), 'ko-matrix-'));
  try {
    const file = join(directory, 'report.json');
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
    const child = spawn(
      'npx',
      ['vitest', 'run', '--project', 'integration', ...reporters, ...TESTS],
      {
        cwd: ROOT,
        stdio: 'inherit',
        timeout: TIMEOUT_MS,
      },
    );
    await once(child, 'exit');
    const { testResults } = report.parse(JSON.parse(await readFile(file, 'utf8')));
    const all = testResults
      .flatMap(({ assertionResults }) => assertionResults)
      .flatMap(({ status, meta: { matrix } }) =>
        matrix === undefined ? [] : [{ ...matrix, passed: status === 'passed' }],
      );
    return { all, code: child.exitCode ?? 1 };
  } finally {
    await rm(directory, { recursive: true });
  }
}

const { all, code } = await runTests();
await writeFile(join(ROOT, ENGINE_MATRIX), matrixTable(all));
const failed = all.filter(({ passed }) => !passed);
for (const { engine, check } of failed)
  process.stderr.write(`failed: ${engine}, ${CHECKS[check]}\n`);
process.stdout.write(`${ENGINE_MATRIX}\n`);
process.exitCode = code;
