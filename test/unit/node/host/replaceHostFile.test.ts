/** Somebody writes in the instant in which their file is replaced: only the call that replaces it can be told from here. */
import { appendFileSync, closeSync, openSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { hostAt } from '../../../../src/node/host/host.ts';
import { readHostFile, replaceHostFile } from '../../../../src/node/host/hostFile.ts';

const around = vi.hoisted(() => ({
  opened: (): void => undefined,
  before: (): void => undefined,
  after: (): void => undefined,
}));
vi.mock('node:fs', async (original) => {
  const real = await original<{ renameSync: typeof renameSync; openSync: typeof openSync }>();
  return {
    ...real,
    openSync: (...args: Parameters<typeof openSync>): number => {
      const opened = real.openSync(...args);
      around.opened();
      return opened;
    },
    renameSync: (from: string, to: string): void => {
      around.before();
      real.renameSync(from, to);
      around.after();
    },
  };
});

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ko-replace-'));
  await writeFile(join(root, 'config.toml'), 'old\n');
  await chmod(join(root, 'config.toml'), 0o640);
});
afterEach(async () => {
  around.opened = () => undefined;
  around.before = () => undefined;
  around.after = () => undefined;
  await rm(root, { recursive: true });
});

async function replace(): Promise<unknown> {
  const host = hostAt(root);
  const file = await readHostFile(host, '/config.toml');
  return replaceHostFile(host, file, Buffer.from('new\n')).catch((error: unknown) => error);
}

async function expectTheirs(error: unknown): Promise<void> {
  expect(error).toMatchObject({ code: 'KATA_E_CONFIG_CHANGED' });
  expect(await readFile(join(root, 'config.toml'), 'utf8')).toBe('old\ntheirs\n');
  expect((await stat(join(root, 'config.toml'))).mode & 0o7777).toBe(0o640);
  expect(await readdir(root)).toEqual(['config.toml']);
}

test('what is written between the last look and the rename is put back', async () => {
  around.before = () => {
    appendFileSync(join(root, 'config.toml'), 'theirs\n');
  };
  await expectTheirs(await replace());
});

test('a file that somebody has put in its place meanwhile stays', async () => {
  around.opened = () => {
    writeFileSync(join(root, 'theirs'), 'old\ntheirs\n', { mode: 0o640 });
    renameSync(join(root, 'theirs'), join(root, 'config.toml'));
  };
  await expectTheirs(await replace());
});

test('what is written by somebody who had it open is put back', async () => {
  const open = openSync(join(root, 'config.toml'), 'a');
  around.after = () => {
    writeSync(open, 'theirs\n');
  };
  await expectTheirs(await replace());
  closeSync(open);
});

test('with nobody else there, it is replaced', async () => {
  expect(await replace()).toBeUndefined();
  expect(await readFile(join(root, 'config.toml'), 'utf8')).toBe('new\n');
});
