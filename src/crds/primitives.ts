/**
 * Small schemas that the API objects are made of, in the subset that structural schemas can carry.
 *
 * Owns the pairing of a zod check with its CEL twin, so that the API server and the controller refuse
 * a value with the same words. Must never use a zod refinement without such a twin.
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

/** A pattern as a CEL raw string. RE2 has no look-around; CEL knows no `\/`. */
function celPattern(pattern: RegExp): string {
  return `r'${pattern.source.replaceAll('\\/', '/')}'`;
}

/**
 * A string of one form. The generator drops the OpenAPI `pattern` in favour of the CEL rule:
 * "should match '^[0-9a-f]{64}$'" helps nobody, a sentence does.
 */
export function form(pattern: RegExp, maxLength: number, message: string): z.ZodString {
  return z
    .string()
    .max(maxLength)
    .regex(pattern, message)
    .meta(cel([`self.matches(${celPattern(pattern)})`, message]));
}

// White space by its bytes: `\s` means more in JavaScript than in the API server's RE2.
const PATH = /^(\/[^/\x00-\x20\x7f]+)+$/;
const cleanPath = 'must be an absolute path without "..", "//", white space or a slash at its end';
const notClean = /\/\.\.?(\/|$)/;

export const absolutePath = z
  .string()
  .max(1024)
  .regex(PATH, cleanPath)
  .refine((path) => !notClean.test(path), cleanPath)
  .meta(
    cel([`self.matches(${celPattern(PATH)}) && !self.matches(${celPattern(notClean)})`, cleanPath]),
  );

/** Milliseconds of a duration in Go's form (`90s`, `10m`, `1h30m`); NaN when it has another form. */
export function durationMs(text: string): number {
  if (!DURATION.test(text)) return Number.NaN;
  const unitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  return [...text.matchAll(/([0-9]+)(ms|s|m|h)/g)].reduce(
    (total, [, value, unit]) => total + Number(value) * (unitMs[unit ?? ''] ?? Number.NaN),
    0,
  );
}
const DURATION = /^([0-9]{1,6}(ms|s|m|h)){1,4}$/;
const durationForm = 'must be a duration such as 90s, 10m or 1h30m';

/** Go's duration as Kubernetes writes it (`90s`, `10m`, `1h30m`). */
export const duration = form(DURATION, 32, durationForm);

/** A duration of at least `minimum`, itself a duration. */
export function durationOfAtLeast(minimum: string): z.ZodString {
  const message = `${durationForm}, and at least ${minimum}`;
  return z
    .string()
    .max(32)
    .refine((text) => durationMs(text) >= durationMs(minimum), message)
    .meta(
      cel([
        `self.matches(${celPattern(DURATION)}) && duration(self) >= duration('${minimum}')`,
        message,
      ]),
    );
}

const countOrPercentPattern = /^([1-9][0-9]{0,4}|[1-9][0-9]?%|100%)$/;
const countOrPercentForm =
  'must be a number of nodes from 1 to 99999, or a percentage from 1% to 100%';

/** What zod hands out is always the string, whichever way it was written. */
function intOrString(maxLength: number, pattern: RegExp, message: string) {
  return z
    .union([z.int(), z.string().max(maxLength)])
    .transform(String)
    .pipe(z.string().regex(pattern, message))
    .meta({
      'x-kubernetes-int-or-string': true,
      maxLength,
      ...cel([`string(self).matches(${celPattern(pattern)})`, message]),
    });
}

/** A number of nodes or a share of them. A string in both cases would be easier, but people write `maxParallel: 2`. */
export const countOrPercent = intOrString(6, countOrPercentPattern, countOrPercentForm);

/** A resource quantity as in a Pod; `cpu: 1` is a number in YAML. */
export const quantity = intOrString(
  32,
  /^[0-9]{1,12}(\.[0-9]{1,9})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$/,
  'must be a resource quantity such as 250m, 1 or 130Mi',
);

export const dnsLabel = (maxLength: number): z.ZodString =>
  form(
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
    maxLength,
    'must consist of lower-case letters, digits and "-", and start and end with a letter or digit',
  );

const QUALIFIED_NAME =
  /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const qualifiedNameForm = 'must be a label key such as example.com/pool';

/** Key of a label or taint: an optional DNS prefix, a slash, a name of at most 63 characters. */
export const qualifiedName = form(QUALIFIED_NAME, 317, qualifiedNameForm);

const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const labelValueForm =
  'must be a label value: at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends';
const labelValue = form(LABEL_VALUE, 63, labelValueForm);

const labelKeysForm = `every key ${qualifiedNameForm}`;
export const labels = z
  .record(z.string(), labelValue)
  .refine((map) => Object.keys(map).every((key) => QUALIFIED_NAME.test(key)), labelKeysForm)
  .meta({
    maxProperties: 32,
    ...cel([
      `self.all(key, size(key) <= 317 && key.matches(${celPattern(QUALIFIED_NAME)}))`,
      labelKeysForm,
    ]),
  });

const operatorValues =
  'values must be set with In and NotIn, and left out with Exists and DoesNotExist';

export const labelSelector = z.object({
  matchLabels: labels.optional().describe('Labels with exactly these values.'),
  matchExpressions: z
    .array(
      z
        .object({
          key: qualifiedName.describe('Key of the label.'),
          operator: z
            .enum(['In', 'NotIn', 'Exists', 'DoesNotExist'])
            .describe('Relation to the values.'),
          values: z.array(labelValue).min(1).max(64).optional().describe('With In and NotIn.'),
        })
        .refine(
          ({ operator, values }) => operator.endsWith('In') === (values !== undefined),
          operatorValues,
        )
        .meta(
          cel([`has(self.values) == (self.operator in ['In', 'NotIn'])`, operatorValues, 'values']),
        ),
    )
    .max(32)
    .optional()
    .describe('Further requirements; all must hold.'),
});
export type LabelSelector = z.infer<typeof labelSelector>;

const valueWithExists = 'value must be left out when operator is Exists';
const keyless = 'operator must be Exists when key is left out';
const secondsWithout = 'tolerationSeconds needs effect NoExecute';

export const toleration = z
  .object({
    key: qualifiedName
      .optional()
      .describe('Key of the taint; without it, with Exists, every taint.'),
    operator: z.enum(['Exists', 'Equal']).optional().describe('Equal when left out.'),
    value: labelValue.optional().describe('Value of the taint, with Equal.'),
    effect: z
      .enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute'])
      .optional()
      .describe('Every effect when left out.'),
    tolerationSeconds: z
      .int()
      .min(0)
      .max(2_147_483_647)
      .optional()
      .describe('With NoExecute: for how long.'),
  })
  .refine((one) => one.operator !== 'Exists' || one.value === undefined, valueWithExists)
  .refine((one) => one.key !== undefined || one.operator === 'Exists', keyless)
  .refine(
    (one) => one.tolerationSeconds === undefined || one.effect === 'NoExecute',
    secondsWithout,
  )
  .meta(
    cel(
      [
        "!(has(self.operator) && self.operator == 'Exists' && has(self.value))",
        valueWithExists,
        'value',
      ],
      ["has(self.key) || (has(self.operator) && self.operator == 'Exists')", keyless, 'operator'],
      [
        "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        secondsWithout,
        'tolerationSeconds',
      ],
    ),
  );
export type Toleration = z.infer<typeof toleration>;

export const reference = z.object({
  name: form(
    /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/,
    253,
    'must be the name of an object: lower-case letters, digits, "-" and "."',
  ).describe('Name of the object.'),
});

export const url = form(
  /^https?:\/\/[0-9A-Za-z.:[\]_-]+([/?#][!-~]*)?$/,
  2048,
  'must be an http or https URL without credentials in it',
);
