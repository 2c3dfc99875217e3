/**
 * Small schemas that the API objects are made of, in the subset that structural schemas can carry.
 */
import { z } from 'zod';

/** One CEL rule, its message and, when it names a single field, the path of that field. */
export type CelRule = readonly [rule: string, message: string, fieldPath?: string];

/** Metadata for `.meta()`: rules that the API server evaluates (Kubernetes, CustomResourceDefinition validation rules). */
export function cel(...rules: CelRule[]): Record<string, unknown> {
  return {
    'x-kubernetes-validations': rules.map(([rule, message, fieldPath]) => ({
      rule,
      message,
      ...(fieldPath === undefined ? {} : { fieldPath: `.${fieldPath}` }),
    })),
  };
}

export const absolutePath = z
  .string()
  .min(2)
  .max(1024)
  .regex(/^\/[^\s]*$/)
  .meta(cel(["!self.contains('/../') && !self.endsWith('/..')", 'must be a clean absolute path without ".."']));

/** Go's duration as Kubernetes writes it (`90s`, `10m`, `1h30m`). */
export const duration = z
  .string()
  .min(2)
  .max(32)
  .regex(/^([0-9]+(ms|s|m|h))+$/);

/** A number of nodes or a share of them. A string in both cases would be easier, but people write `maxParallel: 2`. */
export function countOrPercent(fallback: string) {
  return z.preprocess(
    (value) => (typeof value === 'number' ? String(value) : value),
    z
      .string()
      .regex(/^([1-9][0-9]{0,4}|[1-9][0-9]?%|100%)$/)
      .default(fallback),
  );
}

export const quantity = z
  .string()
  .min(1)
  .max(32)
  .regex(/^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$/);

const labelKey = z.string().min(1).max(317);
export const labels = z.record(z.string(), z.string().max(63)).meta({ maxProperties: 32 });

export const labelSelector = z.object({
  matchLabels: labels.optional(),
  matchExpressions: z
    .array(
      z.object({
        key: labelKey,
        operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
        values: z.array(z.string().max(63)).max(64).optional(),
      }),
    )
    .max(32)
    .optional(),
});
export type LabelSelector = z.infer<typeof labelSelector>;

export const toleration = z.object({
  key: z.string().max(317).optional(),
  operator: z.enum(['Exists', 'Equal']).optional(),
  value: z.string().max(63).optional(),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).optional(),
  tolerationSeconds: z.int().optional(),
});
export type Toleration = z.infer<typeof toleration>;

export const reference = z.object({ name: z.string().min(1).max(253) });
