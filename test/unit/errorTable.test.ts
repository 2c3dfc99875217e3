import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ERRORS } from '../../src/errorTable.ts';

it('has every row of its parts, and no code twice', async () => {
  const directory = join(import.meta.dirname, '../../src/errorTable');
  const codes: string[] = [];
  for (const file of await readdir(directory)) {
    const part = (await import(join(directory, file))) as Record<string, unknown>;
    for (const rows of Object.values(part))
      if (typeof rows === 'object' && rows !== null) codes.push(...Object.keys(rows));
  }
  expect(codes.length).toBeGreaterThan(0);
  expect(codes.toSorted()).toEqual(Object.keys(ERRORS).toSorted());
});
