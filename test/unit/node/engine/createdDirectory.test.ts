import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  isOnlyAnnounced,
  makeDirectory,
  removeCreatedDirectory,
} from '../../../../src/node/engine/createdDirectory.ts';
import type { EngineRecord } from '../../../../src/node/engine/record.ts';
import { type Host, hostAt } from '../../../../src/node/host/host.ts';

let host: Host;
beforeEach(async () => {
  host = hostAt(await mkdtemp(join(tmpdir(), 'ko-created-')));
});
afterEach(() => rm(host.root, { recursive: true }));

const RECORD: EngineRecord = {
  owner: 'kata',
  engine: {
    ...{ name: 'crio', version: '1.34.0', configPath: '/crio.conf', socket: '/run/crio.sock' },
    ...{ binaryPath: '/usr/bin/crio', running: true },
  },
  original: {
    ...{ path: '/conf.d/90-x.conf', existed: false, mode: 0o644, uid: 0, gid: 0 },
    createdDirectory: '/conf.d',
  },
  handlers: [],
};

describe('the directory of a drop-in', () => {
  test('is on record before it is there', async () => {
    const order: string[] = [];
    const made = await makeDirectory(host, '/conf.d', async (directory) => {
      order.push(directory, ...(await readdir(host.root)));
    });
    expect([made, order, await readdir(host.root)]).toEqual(['/conf.d', ['/conf.d'], ['conf.d']]);
  });

  test('is not made when it cannot be put on record', async () => {
    const full = new Error('no space');
    await expect(makeDirectory(host, '/conf.d', () => Promise.reject(full))).rejects.toBe(full);
    expect(await readdir(host.root)).toEqual([]);
  });

  test('that is there is nobody of ours', async () => {
    await mkdir(host.at('/conf.d'));
    const never = (): Promise<void> => Promise.reject(new Error('put on record'));
    expect(await makeDirectory(host, '/conf.d', never)).toBeUndefined();
  });

  test('goes when it is empty or gone, stays with what others have put there, and says what else is wrong', async () => {
    await removeCreatedDirectory(host, RECORD);
    await mkdir(host.at('/conf.d'));
    await writeFile(host.at('/conf.d/theirs.conf'), '');
    await removeCreatedDirectory(host, RECORD);
    expect(await readdir(host.root)).toEqual(['conf.d']);
    await rm(host.at('/conf.d/theirs.conf'));
    await removeCreatedDirectory(host, undefined);
    await removeCreatedDirectory(host, RECORD);
    expect(await readdir(host.root)).toEqual([]);
    await writeFile(host.at('/conf.d'), 'a file');
    await expect(removeCreatedDirectory(host, RECORD)).rejects.toMatchObject({ code: 'KATA_E_IO' });
  });

  test('is all that was done, until there is a change or a handler', () => {
    expect(isOnlyAnnounced(RECORD)).toBe(true);
    expect(isOnlyAnnounced({ ...RECORD, handlers: ['kata-fc'] })).toBe(false);
    expect(isOnlyAnnounced({ ...RECORD, change: { target: 'wish' } })).toBe(false);
  });
});
