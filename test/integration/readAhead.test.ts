import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readAhead } from '../../src/node/engine/readAhead.ts';
import { hostAt } from '../../src/node/host/host.ts';
import { run, succeed } from './support/run.ts';

const SIZE_BYTES = 5 * 1024 * 1024 + 123;
let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ko-ahead-'));
});
afterEach(() => rm(root, { recursive: true }));

const inMemoryBytes = async (path: string): Promise<number> =>
  Number(await succeed(run('fincore', ['--noheadings', '--bytes', '--output', 'RES', path])));

test('has a shim in memory that was written past it, and does not mind one that is missing', async ({
  skip,
}) => {
  const shim = join(root, 'shim');
  await writeFile(shim, Buffer.alloc(SIZE_BYTES, 7));
  await succeed(run('sync', [shim]));
  await succeed(run('dd', [`if=${shim}`, 'iflag=nocache', 'count=0']));
  if ((await inMemoryBytes(shim)) > 0) skip('files in /tmp never leave the memory here');
  await readAhead(hostAt(root), ['/missing', '/shim', '/shim'], AbortSignal.timeout(10_000));
  expect(await inMemoryBytes(shim)).toBeGreaterThanOrEqual(SIZE_BYTES);
});
