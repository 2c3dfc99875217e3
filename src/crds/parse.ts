/**
 * The boundary: what the API server sends becomes a typed object here, once, or is refused.
 *
 * Owns the tolerance: metadata and status are read leniently (another version may have written them),
 * the spec strictly. Must never invent a spec: an invalid one is an error that names the field.
 */
import { z } from 'zod';
import { KataError } from '../errors.ts';
import {
  kataDeploymentSpec,
  kataDeploymentStatus,
  type KataDeploymentSpec,
  type KataDeploymentStatus,
} from './kataDeployment.ts';

const objectMeta = z.object({
  name: z.string(),
  uid: z.string().default(''),
  resourceVersion: z.string().default(''),
  generation: z.int().default(0),
  creationTimestamp: z.string().optional(),
  deletionTimestamp: z.string().optional(),
  finalizers: z.array(z.string()).default([]),
  labels: z.record(z.string(), z.string()).default({}),
  annotations: z.record(z.string(), z.string()).default({}),
});
export type ObjectMeta = z.output<typeof objectMeta>;

export interface KataDeployment {
  readonly metadata: ObjectMeta;
  readonly spec: KataDeploymentSpec;
  /** Undefined as long as none was written, or when it is of a form unknown to this version. */
  readonly status: KataDeploymentStatus | undefined;
}

const kataDeployment = z.object({
  metadata: objectMeta,
  spec: kataDeploymentSpec.prefault({}),
  status: kataDeploymentStatus.optional().catch(undefined),
});

/** A KataDeployment as the API server sends it. Throws KATA_E_SPEC_INVALID with the path of the first wrong field. */
export function parseKataDeployment(raw: unknown): KataDeployment {
  const { metadata, spec, status } = parsed(kataDeployment, raw);
  return { metadata, spec, status };
}

/** Only the spec, with defaults filled in; for tools and tests that have no object around it. */
export function parseKataDeploymentSpec(raw: unknown): KataDeploymentSpec {
  return parsed(z.object({ spec: kataDeploymentSpec }), { spec: raw }).spec;
}

function parsed<T>(schema: z.ZodType<T>, raw: unknown): T {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new KataError(
    'KATA_E_SPEC_INVALID',
    { field: fieldPath(issue?.path ?? []), cause: issue?.message ?? 'not valid' },
    { cause: result.error },
  );
}

/** `spec.runtimes[0].name`, as the API server writes it. */
function fieldPath(path: readonly PropertyKey[]): string {
  if (path.length === 0) return 'object';
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${String(part)}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}
