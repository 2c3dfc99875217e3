/** The committed table of engines cannot lag behind the engines that are tested, nor hold a cell that failed. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENGINE_RELEASES } from '../../e2e/cluster/engines.ts';
import { CHECKS, ENGINE_MATRIX, matrixTable } from '../integration/support/engineMatrix.ts';

const text = await readFile(join(import.meta.dirname, '../..', ENGINE_MATRIX), 'utf8');
const [head = [], , ...rows] = text
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

describe('docs/reference/engine-matrix.md', () => {
  test('has a column for every check', () => {
    expect(head.slice(1)).toEqual(Object.values(CHECKS));
  });

  test.for(ENGINE_RELEASES)(
    'has a row for containerd %s in which everything was run',
    (release) => {
      const of = rows.filter(([engine]) => engine?.startsWith(`containerd ${release}.`) === true);
      expect(of).toHaveLength(1);
      for (const cell of of.flat()) expect(cell).not.toMatch(/not run|failed|^$/);
    },
  );

  test('has a row for CRI-O in which nothing failed, and every other row is of a tested release', () => {
    const others = rows.filter(
      ([engine]) =>
        !ENGINE_RELEASES.some((release) => engine?.startsWith(`containerd ${release}.`)),
    );
    expect(others).toHaveLength(1);
    expect(others.flat()[0]).toMatch(/^CRI-O \d+\.\d+\.\d+$/);
    expect(others.flat().join()).not.toContain('failed');
  });
});

test('a cell that failed or was not run is told as such', () => {
  const table = matrixTable([
    { engine: 'containerd 9.9.9', check: 'install', passed: true, seen: 'one restart' },
    { engine: 'containerd 9.9.9', check: 'noop', passed: false },
  ]);
  expect(table).toMatch(/^\| containerd 9\.9\.9 \| one restart \| not run \| \*\*failed\*\* /m);
});
