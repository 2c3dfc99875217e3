/** docs/faults.md says which test shows what: every one of them must exist, under that title, with that row. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ERRORS } from '../../src/errorTable.ts';

const ROOT = join(import.meta.dirname, '../..');

interface Fault {
  readonly id: string;
  readonly happens: string;
  readonly shownBy: readonly string[];
}

/** Rows of the tables: `| A1 | fault | what happens | shown by |`. */
function faults(): Fault[] {
  return readFileSync(join(ROOT, 'docs/faults.md'), 'utf8')
    .split('\n')
    .filter((line) => /^\| [A-E]\d+ /.test(line))
    .map((line) => {
      const [id = '', , happens = '', shownBy = ''] = line.split('|').slice(1, -1);
      const tests = shownBy.split('<br>').map((part) => part.trim());
      return {
        id: id.trim(),
        happens: happens.trim(),
        shownBy: tests.filter((part) => part !== ''),
      };
    });
}

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

/** Says what is wrong with a reference `` `file` › title › row ``, title and row by their first words. */
function wrongWith(reference: string): string | undefined {
  const [file = '', title = '', row] = reference.split(' › ');
  const path = /^`([\w./-]+\.test\.ts)`$/.exec(file)?.[1];
  if (path === undefined || title === '')
    return `it is not of the form \`file\` › title: ${reference}`;
  let source: string;
  try {
    source = readFileSync(join(ROOT, path), 'utf8');
  } catch {
    return `there is no ${path}`;
  }
  const quotes = '[\'"`]';
  if (!new RegExp(`(\\b(test|it)|\\))\\(\\s*${quotes}${escaped(title)}`).test(source))
    return `${path} has no test "${title}"`;
  if (row !== undefined && !new RegExp(`${quotes}${escaped(row)}`).test(source))
    return `${path} has no row "${row}"`;
  return undefined;
}

describe('the table of faults', () => {
  test('has every fault once', () => {
    const ids = faults().map(({ id }) => id);
    expect(ids.length).toBeGreaterThan(50);
    expect(ids).toEqual([...new Set(ids)]);
  });

  test('names for each a test that exists, or says why there is none', () => {
    const wrong = faults().flatMap(({ id, happens, shownBy }) =>
      shownBy.length === 0 && !/^not tested: \w/i.test(happens)
        ? [`${id}: neither a test nor a reason`]
        : shownBy.map(wrongWith).flatMap((what) => (what === undefined ? [] : [`${id}: ${what}`])),
    );
    expect(wrong).toEqual([]);
  });

  test('names codes that exist', () => {
    const text = readFileSync(join(ROOT, 'docs/faults.md'), 'utf8');
    const named = [...new Set([...text.matchAll(/KATA_E_[A-Z_]+/g)].map(([code]) => code))];
    expect(named.filter((code) => !Object.hasOwn(ERRORS, code))).toEqual([]);
  });

  test.for([
    'test/unit/helper.test.ts › lets go when it is killed',
    '`test/unit/none.test.ts` › lets go when it is killed',
    '`test/unit/helper.test.ts` › lets nobody go',
    '`test/unit/helper.test.ts` › is not ready by a fingerprint that is %s › nobody',
  ])('takes no reference like %s', (reference) => {
    expect(wrongWith('`test/unit/helper.test.ts` › lets go when it is killed')).toBeUndefined();
    expect(wrongWith(reference)).toBeDefined();
  });
});
