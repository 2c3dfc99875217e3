/**
 * What is shown of every engine, and how a test says which cell of docs/reference/engine-matrix.md it is.
 * `npm run matrix` runs these tests and writes the table from what became of them.
 */
import { z } from 'zod';

export const CHECKS = {
  install: 'install',
  sandbox: 'sandbox',
  noop: 'nothing to do',
  upgrade: 'upgrade',
  drift: 'drift',
  badConfiguration: 'bad configuration',
  rollback: 'rollback',
  remove: 'remove, same bytes',
} as const;
export type Check = keyof typeof CHECKS;

export const matrixCell = z.object({
  /** `containerd 2.4.2` */
  engine: z.string(),
  check: z.enum(Object.keys(CHECKS) as [Check, ...Check[]]),
  /** What was seen, in few words. */
  seen: z.string().optional(),
});
export type MatrixCell = z.infer<typeof matrixCell>;

declare module 'vitest' {
  interface TaskMeta {
    matrix?: MatrixCell;
  }
}

interface TestTask {
  readonly meta: { matrix?: MatrixCell };
}

/** At the begin of a test: a failure is then one of this cell. */
export function cellOf(task: TestTask, engine: string, check: Check): void {
  task.meta.matrix = { engine, check };
}

/** At its end. */
export function seen(task: TestTask, text: string): void {
  if (task.meta.matrix !== undefined) task.meta.matrix = { ...task.meta.matrix, seen: text };
}

export interface Outcome extends MatrixCell {
  readonly passed: boolean;
}

/** Relative to the top of the repository. */
export const ENGINE_MATRIX = 'docs/reference/engine-matrix.md';

const HEAD = `<!-- Written by "npm run matrix" from a run of the tests. Do not edit. -->

# Engines

What was run on real engines, each from the installation to its removal, and what was seen. containerd runs under systemd
in a container and the bundled \`kata-node\` against it (\`test/integration/engineMatrix.test.ts\`); the shim is the stand-in
of \`e2e/standin\`. CRI-O runs alone, outside of systemd, and starts no container (\`test/integration/engineCrio.test.ts\`).

- *install*: the handlers are served, and those of before. *sandbox*: over CRI, by the shim of the installed version.
- *upgrade*: another version and revision while a sandbox runs. *drift*: the block, or the file, was taken out by hand.
- *bad configuration*: the engine would not start again with its file. *rollback*: of a change with which the engine does
  not come back, and (containerd) to the revision before, by command.
- *remove, same bytes*: the sha256 of the engine's configuration is that of before the installation.
`;

/** One row for each engine, sorted by name. */
export function matrixTable(outcomes: readonly Outcome[]): string {
  const checks = Object.keys(CHECKS) as Check[];
  const engines = [...new Set(outcomes.map(({ engine }) => engine))].toSorted((a, b) =>
    a.localeCompare(b, 'en'),
  );
  const rows = engines.map((engine) => [
    engine,
    ...checks.map((check) =>
      textOf(outcomes.filter((outcome) => outcome.engine === engine && outcome.check === check)),
    ),
  ]);
  return `${HEAD}\n${aligned([['', ...Object.values(CHECKS)], ...rows])}\n`;
}

function textOf(cells: readonly Outcome[]): string {
  if (cells.length === 0) return 'not run';
  if (cells.some(({ passed }) => !passed)) return '**failed**';
  return [...new Set(cells.map(({ seen: text }) => text ?? 'passed'))].join(', ');
}

/** As prettier aligns a table. */
function aligned(rows: readonly (readonly string[])[]): string {
  const [head = []] = rows;
  const widths = head.map((_, column) =>
    Math.max(3, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  const [first = [], ...rest] = rows;
  return [line(first), line(widths.map((width) => '-'.repeat(width))), ...rest.map(line)].join(
    '\n',
  );
}
