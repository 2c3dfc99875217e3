import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  parseToml,
  type TomlTable,
  type TomlValue,
  valueAt,
} from '../../../../src/node/toml/document.ts';
import { lineAt } from '../../../../src/node/host/text.ts';
import { definitionOf, statementsOf, valueAbove } from '../../../../src/node/toml/layout.ts';
import { tomlDocument, type Value } from '../../../fuzz/tomlDocument.ts';

const FILE = 'config.toml';

/** What the value means, each scalar read on its own. */
function meaning(value: Value, text: string): TomlValue {
  if (value.kind === 'list' || value.kind === 'tables')
    return value.items.map((item) => meaning(item, text));
  if (value.kind === 'table')
    return Object.assign(
      Object.create(null) as TomlTable,
      Object.fromEntries(value.entries.map(([name, item]) => [name, meaning(item, text)])),
    );
  const literal = text.includes('\r\n') ? value.literal.replaceAll('\n', '\r\n') : value.literal;
  return parseToml(`v = ${literal}`, FILE)['v'] ?? '';
}

describe('where statements are', () => {
  test('does not depend on which of its layouts a value is written in', () => {
    fc.assert(
      fc.property(tomlDocument, ({ text, root }) => {
        const statements = statementsOf(text).map(({ start, end }) => text.slice(start, end));
        expect(parseToml(statements.join('\n'), FILE)).toEqual(meaning(root, text));
        expect(parseToml(text, FILE)).toEqual(meaning(root, text));
      }),
      { numRuns: 500 },
    );
  });

  test('is told for every table without a header of its own', () => {
    fc.assert(
      fc.property(
        tomlDocument.filter(({ text }) => !text.includes('[[')),
        ({ text, headless }) => {
          for (const path of headless.filter((at) => valueAt(parseToml(text, FILE), at))) {
            const found = valueAbove(text, [...path, 'x']) ?? definitionOf(text, path);
            expect(found?.kind).toBe('key');
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('is counted in lines from one', () => {
    const text = 'a = """\nb = 1\n"""\r\n[c] # why\n"d\\u002e" . e = [\n1]\n[[f.\'g h\']]\n';
    expect(
      statementsOf(text).map(({ kind, path, start }) => [kind, path, lineAt(text, start)]),
    ).toEqual([
      ['key', ['a'], 1],
      ['table', ['c'], 4],
      ['key', ['c', 'd.', 'e'], 5],
      ['arrayOfTables', ['f', 'g h'], 7],
    ]);
  });

  test('comes with whether the key has an escape', () => {
    const text = '["a\\u002e"]\n"b" = "\\n"\n\'c\\d\' = 1\nd . "\\"" = 2\n';
    expect(statementsOf(text).map(({ isEscaped }) => isEscaped)).toEqual([
      true,
      false,
      false,
      true,
    ]);
  });

  test('ends for text that is no document', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[[\]{}="'#.,\\\n\r\t a1é]*$/, { size: 'large' }), (text) => {
        for (const { start, end } of statementsOf(text)) {
          expect(start).toBeLessThan(text.length);
          expect(end).toBeLessThanOrEqual(text.length + 1);
        }
      }),
      { numRuns: 300 },
    );
  });
});
