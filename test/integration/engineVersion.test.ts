import { chmod, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { recallVersion, versionOf } from '../../src/node/engine/version.ts';
import { failureOf, host, signal } from './support/engineRelease.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ko-version-'));
});
afterEach(() => rm(directory, { recursive: true }));

/** An engine that keeps count of how often it was started. */
async function put(version: string): Promise<string> {
  const path = join(directory, 'containerd');
  await writeFile(
    `${path}.new`,
    `#!/bin/sh\necho x >>${directory}/starts\necho containerd ${version}\n`,
  );
  await chmod(`${path}.new`, 0o755);
  await rename(`${path}.new`, path);
  return path;
}
const starts = async (): Promise<number> =>
  (await readFile(join(directory, 'starts'), 'utf8')).length / 2;

test('is asked of a binary once, and anew when it was replaced', async () => {
  const path = await put('2.4.2');
  expect(await versionOf(host, path, signal())).toMatchObject({ version: '2.4.2' });
  expect(await versionOf(host, path, signal())).toMatchObject({ version: '2.4.2' });
  expect(await starts()).toBe(1);
  await put('2.4.3');
  expect(await versionOf(host, path, signal())).toMatchObject({ version: '2.4.3' });
  expect(await starts()).toBe(2);
});

test('is not asked of a binary that told an earlier run, unless it was replaced since', async () => {
  const path = await put('2.4.2');
  const { binaryIdentity } = await versionOf(host, path, signal());
  // What another process has written down.
  recallVersion({ version: '2.4.1', binaryIdentity });
  expect(await versionOf(host, path, signal())).toEqual({ version: '2.4.1', binaryIdentity });
  await put('2.4.3');
  expect(await versionOf(host, path, signal())).toMatchObject({ version: '2.4.3' });
});

test('of a binary that cannot be read is an error each time', async () => {
  const path = await put('of tomorrow');
  for (const code of ['KATA_E_ENGINE_UNSUPPORTED', 'KATA_E_ENGINE_UNSUPPORTED'])
    expect(await failureOf(versionOf(host, path, signal()))).toMatchObject({ code });
  await rm(path);
  expect(await failureOf(versionOf(host, path, signal()))).toMatchObject({ code: 'KATA_E_IO' });
});
