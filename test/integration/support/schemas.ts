/**
 * JSON schemas for kubeconform out of what a running API server publishes, so that no schema has to be
 * downloaded and ours are among them. Strict: fields that a kind does not have are refused.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

type Schema = Record<string, unknown>;

const openApi = z.object({ definitions: z.record(z.string(), z.record(z.string(), z.unknown())) });
const groupVersionKinds = z.array(
  z.object({ group: z.string(), version: z.string(), kind: z.string() }),
);

const GVK = 'x-kubernetes-group-version-kind';
/** The path of a schema file, in the words of kubeconform. */
export const SCHEMA_LOCATION = '{{.ResourceKind}}{{.KindSuffix}}.json';

/** Writes one file per kind of `/openapi/v2` into the directory. Returns the number of kinds. */
export async function writeSchemas(openApiV2: string, directory: string): Promise<number> {
  const { definitions } = openApi.parse(JSON.parse(openApiV2));
  await mkdir(directory, { recursive: true });
  const strictDefinitions = Object.fromEntries(
    Object.entries(definitions).map(([name, schema]) => [name, strict(schema)]),
  );
  const shared = { definitions: strictDefinitions };
  await writeFile(join(directory, '_definitions.json'), JSON.stringify(shared));
  let kinds = 0;
  for (const [name, schema] of Object.entries(definitions)) {
    for (const { group, version, kind } of groupVersionKinds.parse(schema[GVK] ?? [])) {
      const prefix = group === '' ? '' : `${group.split('.')[0] ?? ''}-`;
      const file = `${kind}-${prefix}${version}.json`.toLowerCase();
      const reference = { $ref: `_definitions.json#/definitions/${name}` };
      await writeFile(join(directory, file), JSON.stringify(reference));
      kinds += 1;
    }
  }
  return kinds;
}

function strict(schema: Schema): Schema {
  if (schema['format'] === 'int-or-string') return { type: ['string', 'integer'] };
  // Quantities are published as strings, and may be numbers.
  if (/Quantity is a fixed-point/.test(String(schema['description']))) {
    return { type: ['string', 'number'] };
  }
  const changed = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key, strictValue(key, value)]),
  );
  const isClosed =
    schema['properties'] !== undefined &&
    schema['additionalProperties'] === undefined &&
    schema['x-kubernetes-preserve-unknown-fields'] !== true;
  return isClosed ? { ...changed, additionalProperties: false } : changed;
}

function strictValue(key: string, value: unknown): unknown {
  if (key === '$ref') return `_definitions.json${String(value)}`;
  if (key === 'properties') {
    return Object.fromEntries(
      Object.entries(value as Record<string, Schema>).map(([name, of]) => [name, strict(of)]),
    );
  }
  const isSchema = (key === 'items' || key === 'additionalProperties') && typeof value === 'object';
  return isSchema ? strict(value as Schema) : value;
}
