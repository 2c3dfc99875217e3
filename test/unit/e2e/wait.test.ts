import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { withLock } from '../../../e2e/cluster/lock.ts';
import { waitUntil } from '../../../e2e/cluster/wait.ts';

describe('waiting', () => {
  test('ends with the value as soon as there is one, and an error on the way only means "not yet"', async () => {
    let calls = 0;
    const value = await waitUntil(
      'third time',
      () => {
        calls += 1;
        if (calls === 1) throw new Error('refused');
        return Promise.resolve(calls === 3 ? { value: 'there' } : { waitingFor: 'patience' });
      },
      { timeoutMs: 5000, intervalMs: 1 },
    );
    expect([value, calls]).toEqual(['there', 3]);
  });

  test('ends at the deadline, and says what was missing last', async () => {
    const never = waitUntil(
      'Pod ended',
      () => Promise.resolve({ waitingFor: 'phase is Pending' }),
      {
        timeoutMs: 20,
        intervalMs: 1,
      },
    );
    await expect(never).rejects.toThrow(/Pod ended: not within 0.02 s; .*phase is Pending/);
  });

  test('ends when it is aborted', async () => {
    const abort = new AbortController();
    const waiting = waitUntil('never', () => Promise.resolve({ waitingFor: 'x' }), {
      timeoutMs: 60_000,
      intervalMs: 60_000,
      signal: abort.signal,
    });
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow();
  });
});

describe('a lock file', () => {
  let directory: string;
  let lock: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'lock-'));
    lock = join(directory, 'a/b.lock');
  });
  afterEach(() => rm(directory, { recursive: true }));

  test('lets one work at a time', async () => {
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      most = Math.max(most, ++inside);
      await sleep(5);
      inside -= 1;
    };
    await Promise.all([1, 2, 3].map(() => withLock(lock, work)));
    expect(most).toBe(1);
  });

  test('is given back when the work fails', async () => {
    const failing = withLock(lock, () => Promise.reject(new Error('broken')));
    await expect(failing).rejects.toThrow('broken');
    await expect(readFile(lock)).rejects.toThrow('ENOENT');
  });

  test.each([
    ['a process that is gone', '999999999 1'],
    ['an earlier process with the id of a living one', `${process.pid} 1`],
  ])('of %s is taken over', async (_, owner) => {
    await withLock(lock, () => Promise.resolve());
    await writeFile(lock, owner);
    expect(await withLock(lock, () => Promise.resolve('worked'), 5000)).toBe('worked');
  });

  test('of a living process is never taken', async () => {
    await withLock(lock, async () => {
      const second = withLock(lock, () => Promise.resolve('stolen'), 300);
      await expect(second).rejects.toThrow(/is held by another process/);
    });
  });
});
