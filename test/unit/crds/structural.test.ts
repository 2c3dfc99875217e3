import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { KINDS } from '../../../src/crds/generate/customResourceDefinition.ts';
import { structuralSchema, type StructuralSchema } from '../../../src/crds/generate/structural.ts';
import { countOrPercent, form } from '../../../src/crds/primitives.ts';

interface Place {
  readonly path: string;
  readonly schema: StructuralSchema;
}

function places(path: string, schema: StructuralSchema): Place[] {
  const below = [
    ...Object.entries(schema.properties ?? {}).map(
      ([name, of]) => [`${path}.${name}`, of] as const,
    ),
    ...(schema.items === undefined ? [] : [[`${path}[]`, schema.items] as const]),
    ...(schema.additionalProperties === undefined
      ? []
      : [[`${path}{}`, schema.additionalProperties] as const]),
  ];
  return [{ path, schema }, ...below.flatMap(([at, of]) => places(at, of))];
}

const ALL = KINDS.flatMap((kind) => places(kind.kind, kind.schema)).filter(
  ({ path }) => !/^\w+(\.(metadata|apiVersion|kind))?$/.test(path),
);
const pathsWhere = (wrong: (schema: StructuralSchema) => boolean): string[] =>
  ALL.filter(({ schema }) => wrong(schema)).map(({ path }) => path);

describe('the schemas of both kinds', () => {
  test('bound every list', () => {
    expect(
      pathsWhere(({ items, maxItems }) => items !== undefined && maxItems === undefined),
    ).toEqual([]);
  });

  test('bound every map', () => {
    const unbounded = ({ additionalProperties, maxProperties }: StructuralSchema): boolean =>
      additionalProperties !== undefined && maxProperties === undefined;
    expect(pathsWhere(unbounded)).toEqual([]);
  });

  test('bound every string', () => {
    const unbounded = (schema: StructuralSchema): boolean =>
      schema.type === 'string' && schema.maxLength === undefined && schema.enum === undefined;
    expect(pathsWhere(unbounded)).toEqual([]);
  });

  test('require nothing that has a default', () => {
    const contradicts = ({ required, properties }: StructuralSchema): boolean =>
      (required ?? []).some((name) => properties?.[name]?.default !== undefined);
    expect(pathsWhere(contradicts)).toEqual([]);
  });

  test('show no pattern where a rule says the same in words', () => {
    const both = (schema: StructuralSchema): boolean =>
      schema.pattern !== undefined && schema['x-kubernetes-validations'] !== undefined;
    expect(pathsWhere(both)).toEqual([]);
  });

  test('describe every field of the spec of a KataDeployment, and of its status', () => {
    const undescribed = ALL.filter(
      ({ path, schema }) =>
        path.startsWith('KataDeployment.') && !/[\]}]$/.test(path) && !schema.description,
    );
    expect(undescribed.map(({ path }) => path)).toEqual([]);
  });

  test('let columns point only at what is there', () => {
    const paths = new Set(ALL.map(({ path }) => path));
    for (const { kind, columns } of KINDS) {
      const missing = columns.filter(
        ({ jsonPath }) =>
          jsonPath !== '.metadata.creationTimestamp' && !paths.has(`${kind}${jsonPath}`),
      );
      expect(missing).toEqual([]);
    }
  });

  test('have the columns that people know', () => {
    expect(KINDS[0]?.columns.map(({ name }) => name)).toEqual([
      'Version',
      'Desired',
      'Ready',
      'Failed',
      'Wave',
      'Age',
    ]);
  });
});

describe('the way from zod to a structural schema', () => {
  test('turns defaults of both directions into defaults of the API', () => {
    const schema = z.object({
      plain: z.string().default('a'),
      before: countOrPercent.prefault('10%'),
      nested: z.object({ on: z.boolean().default(true) }).prefault({}),
    });
    expect(structuralSchema(schema)).toMatchObject({
      properties: {
        plain: { default: 'a' },
        before: { default: '10%', 'x-kubernetes-int-or-string': true },
        nested: { default: {}, properties: { on: { default: true } } },
      },
    });
    expect(structuralSchema(schema).required).toBeUndefined();
  });

  test('leaves out what Kubernetes does by itself', () => {
    const schema = structuralSchema(z.object({ count: z.int().max(9) }));
    expect(schema).toEqual({
      type: 'object',
      required: ['count'],
      properties: { count: { type: 'integer', format: 'int64', maximum: 9 } },
    });
  });

  test('gives a form as the rule and not as the pattern', () => {
    expect(structuralSchema(z.object({ a: form(/^a\/b$/, 9, 'must be a/b') })).properties).toEqual({
      a: {
        type: 'string',
        maxLength: 9,
        'x-kubernetes-validations': [{ rule: "self.matches(r'^a/b$')", message: 'must be a/b' }],
      },
    });
  });

  test.each([
    ['a union', z.object({ a: z.union([z.string(), z.boolean()]) })],
    ['anything', z.object({ a: z.unknown() })],
    ['a tuple', z.object({ a: z.tuple([z.string(), z.string()]) })],
    ['a date', z.object({ a: z.date() })],
    ['examples', z.object({ a: z.string().meta({ examples: ['b'] }) })],
  ])('refuses %s instead of weakening it', (_, schema) => {
    expect(() => structuralSchema(schema)).toThrow();
  });
});
