import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { describe, expect, test } from 'vitest';
import { chartReadme } from '../../../build/chartReadme.ts';
import { generatedFiles, yaml } from '../../../build/generated.ts';
import { ERRORS } from '../../../src/errors.ts';

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
