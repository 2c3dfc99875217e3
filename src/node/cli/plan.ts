/**
 * Reads the plan, once, at the edge: everything behind it can rely on its shape.
 */
import { readFile } from 'node:fs/promises';
import type { z } from 'zod';
import { nodePlan, type NodePlan } from '../../crds/nodePlan.ts';
import { KataError, causeOf } from '../../errors.ts';

const MAX_ISSUES = 3;

/** Throws KATA_E_PLAN_INVALID, which names the first fields that are wrong. */
export async function readPlan(file: string): Promise<NodePlan> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new KataError('KATA_E_PLAN_INVALID', { file, cause: causeOf(error) }, { cause: error });
  }
  const parsed = nodePlan.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new KataError('KATA_E_PLAN_INVALID', { file, cause: describe(parsed.error) });
}

function describe({ issues }: z.ZodError): string {
  const shown = issues.slice(0, MAX_ISSUES).map(({ path, message }) => {
    const field = path.map(String).join('.');
    return field === '' ? message : `${field}: ${message}`;
  });
  const rest = issues.length - shown.length;
  return shown.join('; ') + (rest > 0 ? `; and ${rest} more` : '');
}
