/**
 * From a zod schema to a structural OpenAPI v3 schema that the API server of Kubernetes takes.
 * Pure. Must refuse, rather than weaken, whatever a structural schema cannot say.
 */
import { z } from 'zod';

/** The part of JSON Schema that a CRD carries. */
export interface StructuralSchema {
  type?: string;
  description?: string;
  format?: string;
  properties?: Record<string, StructuralSchema>;
  additionalProperties?: StructuralSchema;
  items?: StructuralSchema;
  required?: string[];
  enum?: unknown[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  minItems?: number;
  maxItems?: number;
  maxProperties?: number;
  'x-kubernetes-validations'?: { rule: string; message: string; fieldPath?: string }[];
  'x-kubernetes-int-or-string'?: boolean;
  'x-kubernetes-preserve-unknown-fields'?: boolean;
  'x-kubernetes-list-type'?: string;
  'x-kubernetes-list-map-keys'?: string[];
}

/** In the order in which a person reads them; anything else is an error. */
const KEYS = [
  'description',
  'type',
  'format',
  'x-kubernetes-int-or-string',
  'x-kubernetes-preserve-unknown-fields',
  'default',
  'enum',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'pattern',
  'minItems',
  'maxItems',
  'maxProperties',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
  'required',
  'properties',
  'additionalProperties',
  'items',
  'x-kubernetes-validations',
] as const satisfies (keyof StructuralSchema)[];

type Raw = Record<string, unknown>;

/** Throws on constructs that no structural schema can say (union, tuple, `$ref`, `any`). */
export function structuralSchema(schema: z.ZodType): StructuralSchema {
  const raw: unknown = z.toJSONSchema(schema, {
    target: 'openapi-3.0',
    io: 'input',
    unrepresentable: 'throw',
    reused: 'inline',
  });
  return normalise(asObject(raw, 'schema'), '');
}

function normalise(raw: Raw, path: string): StructuralSchema {
  const source = simplified(raw);
  const ordered: Raw = {};
  for (const key of KEYS) {
    if (source[key] !== undefined) ordered[key] = child(key, source[key], path);
  }
  const left = Object.keys(source).filter((key) => !(key in ordered));
  if (left.length > 0)
    throw new Error(`${path}: a structural schema cannot say ${left.join(', ')}`);
  if (ordered['type'] === undefined && ordered['x-kubernetes-int-or-string'] !== true) {
    throw new Error(`${path}: a structural schema needs a type`);
  }
  return ordered;
}

function child(key: string, value: unknown, path: string): unknown {
  if (key === 'items' || key === 'additionalProperties') {
    return normalise(asObject(value, path), `${path}[]`);
  }
  if (key !== 'properties') return value;
  return Object.fromEntries(
    Object.entries(asObject(value, path)).map(([name, property]) => [
      name,
      normalise(asObject(property, path), `${path}.${name}`),
    ]),
  );
}

/** Drops what zod says and Kubernetes refuses or says by itself. */
function simplified(raw: Raw): Raw {
  const { additionalProperties, ...source } = raw;
  delete source['$schema'];
  delete source['propertyNames'];
  // Pruning and strict field validation do the work of `additionalProperties: false`.
  const isMap =
    typeof additionalProperties === 'object' && !source['x-kubernetes-preserve-unknown-fields'];
  if (isMap) source['additionalProperties'] = additionalProperties;
  if (source['x-kubernetes-int-or-string'] === true) {
    delete source['anyOf'];
    delete source['type'];
  }
  // z.int() states the bounds of a double, which nobody asked for.
  if (source['minimum'] === Number.MIN_SAFE_INTEGER) delete source['minimum'];
  if (source['maximum'] === Number.MAX_SAFE_INTEGER) delete source['maximum'];
  if (source['type'] === 'integer') source['format'] = 'int64';
  if (hasMatchRule(source)) delete source['pattern'];
  return source;
}

/** The API server checks patterns before CEL and then shows the pattern; the rule has the better words. */
function hasMatchRule(source: Raw): boolean {
  const rules = source['x-kubernetes-validations'];
  return Array.isArray(rules) && JSON.stringify(rules).includes('.matches(');
}

function asObject(value: unknown, path: string): Raw {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error(`${path}: not a schema`);
  }
  return { ...value };
}
