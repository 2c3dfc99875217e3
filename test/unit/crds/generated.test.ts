import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { describe, expect, test } from 'vitest';
import { chartReadme } from '../../../build/chartReadme.ts';
import { generatedFiles, yaml } from '../../../build/generated.ts';
import { parseKataDeploymentSpec } from '../../../src/crds/parse.ts';
import { ERRORS } from '../../../src/errorTable.ts';
import * as catalogue from '../../../src/kata/catalogue.ts';

const top = join(import.meta.dirname, '../../..');
const files = await generatedFiles(top);

describe('generated files', () => {
  test.each([...files.keys()])('%s is what "npm run generate" writes', (path) => {
    expect(readFileSync(join(top, path), 'utf8')).toBe(files.get(path));
  });

  test('are the same when they are made again', async () => {
    expect(await generatedFiles(top)).toEqual(files);
  });

  test('fit in a client-side apply, which keeps them in an annotation of 256 KiB', () => {
    for (const [path, text] of files) {
      if (path.startsWith('manifests/crds/')) expect(text.length).toBeLessThan(256 * 1024);
    }
  });

  test('of the chart are kept when it is uninstalled', () => {
    const ofChart = [...files].filter(
      ([path]) => path.startsWith('charts/') && path.endsWith('.yaml'),
    );
    expect(ofChart).toHaveLength(2);
    for (const [, text] of ofChart) {
      expect(load(text)).toMatchObject({
        metadata: { annotations: { 'helm.sh/resource-policy': 'keep' } },
      });
    }
  });

  test('name every error of the table with its reason', () => {
    const reference = files.get('docs/reference/errors.md') ?? '';
    for (const [code, { reason }] of Object.entries(ERRORS)) {
      expect(reference).toContain(`## ${reason}\n\n\`${code}\``);
    }
  });
});

test.each(['y', 'no', 'on', '1_000', '0o14', '12:30', '1e3', '100%'])(
  'the string %s stays a string for parsers of YAML 1.1 too',
  (text) => {
    expect(load(yaml({ text }))).toEqual({ text });
    if (!text.endsWith('%')) expect(yaml({ text })).toContain(`'${text}'`);
  },
);

describe('the README of a chart', () => {
  test('has a row for each value with its default and the comment above it', () => {
    const readme = chartReadme('# no description\n\na:\n  # -- First\n  # and more.\n  b: [1]\n');
    expect(readme).toContain('| `a.b` | `[1]` | First and more. |');
  });

  test('cannot be made when a value has no description', () => {
    expect(() => chartReadme('# -- One.\na: 1\nb:\n  c: 2\n')).toThrow('b.c has no description');
  });
});

describe('the schemas, which know nothing of the catalogue,', () => {
  test('admit every name of the catalogue', () => {
    const runtimes = catalogue.CATALOGUE.map(({ name }) => ({ name }));
    expect(parseKataDeploymentSpec({ runtimes }).runtimes).toHaveLength(runtimes.length);
  });
});

test('values.yaml of the chart has every value that its schema allows, but `global`', () => {
  const read = (name: string): unknown =>
    load(readFileSync(join(top, 'charts/kata-operator', name), 'utf8'));
  expect(allowed(read('values.schema.json')).toSorted()).toEqual(
    ['global', ...given(read('values.yaml'))].toSorted(),
  );
});

/** Names of two levels: `image`, `image.tag`. */
function given(values: unknown): string[] {
  return Object.entries(values as object).flatMap(([key, value]) => [key, ...below(key, value)]);
}

function below(key: string, value: unknown): string[] {
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isMap ? Object.keys(value).map((name) => `${key}.${name}`) : [];
}

function allowed(schema: unknown): string[] {
  interface Schema {
    $ref?: string;
    properties?: Record<string, Schema>;
    definitions?: Record<string, Schema>;
  }
  const { properties = {}, definitions = {} } = schema as Schema;
  return Object.entries(properties).flatMap(([key, of]) => {
    const target = definitions[of.$ref?.replace('#/definitions/', '') ?? ''] ?? of;
    return [key, ...Object.keys(target.properties ?? {}).map((name) => `${key}.${name}`)];
  });
}
