import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  absolutePath,
  countOrPercent,
  durationMs,
  labels,
  quantity,
} from '../../../src/crds/primitives.ts';

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

describe('a duration', () => {
  test('is the sum of its parts', () => {
    const part = fc.record({
      value: fc.nat(999_999),
      unit: fc.constantFrom(...(['ms', 's', 'm', 'h'] as const)),
    });
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (parts) => {
        const text = parts.map(({ value, unit }) => `${String(value)}${unit}`).join('');
        const sum = parts.reduce((total, { value, unit }) => total + value * UNIT_MS[unit], 0);
        expect(durationMs(text)).toBe(sum);
      }),
    );
  });

  test.each(['', '5', 's', '1d', '-1s', '1.5s', '1 s', '1s2', '1234567s'])('is not %j', (text) => {
    expect(durationMs(text)).toBeNaN();
  });
});

describe('a number of nodes or a percentage', () => {
  test.each([
    [1, '1'],
    [99_999, '99999'],
    ['7', '7'],
    ['1%', '1%'],
    ['100%', '100%'],
  ])('may be %j', (given, read) => {
    expect(countOrPercent.parse(given)).toBe(read);
  });

  test.each([0, -1, 1.5, '0', '0%', '101%', '050%', '10 %', '', true, null, Number.NaN])(
    'may not be %j',
    (given) => {
      expect(countOrPercent.safeParse(given).success).toBe(false);
    },
  );
});

test.each(['130Mi', '0', 2, '1.5', '250m'])('%j is a quantity', (given) => {
  expect(quantity.parse(given)).toBe(String(given));
});

test.each(['/opt/kata', '/a', '/a/..b', '/a/...'])('%s is a clean path', (path) => {
  expect(absolutePath.parse(path)).toBe(path);
});

test.each(['', '/', 'a', '/a/', '/a//b', '/a/./b', '/a/..', '/../a', '/a b', '/a\n'])(
  '%j is no clean path',
  (path) => {
    expect(absolutePath.safeParse(path).success).toBe(false);
  },
);

test('labels are bounded in number by the API and in form by both', () => {
  expect(labels.safeParse({ 'example.com/a': 'b' }).success).toBe(true);
  expect(labels.safeParse({ '-a': 'b' }).success).toBe(false);
  expect(labels.safeParse({ a: '-b' }).success).toBe(false);
});
