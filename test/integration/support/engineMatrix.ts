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
