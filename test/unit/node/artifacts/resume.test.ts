/** Downloads that go on where another process died. */
import { access, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KataError } from '../../../../src/errors.ts';
import {
  DOWNLOAD_LIMITS,
  download,
  retryDelayMs,
} from '../../../../src/node/artifacts/download.ts';
import { sha256 } from '../fixtures/archives.ts';
import { temporaryDirectory } from '../fixtures/host.ts';
import { fileServer, serve, whenWritten } from '../fixtures/serve.ts';

const CONTENT = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7919) % 251));
const LIMITS = { ...DOWNLOAD_LIMITS, idleMs: 10_000, attempts: 1, backoffMs: 1 };

interface Left {
  readonly part?: Buffer;
  readonly note?: object | string;
  readonly whole?: Buffer;
}

/** What a dead process has left beside `archive`. */
async function leave({ part, note, whole }: Left): Promise<string> {
  const file = join(await temporaryDirectory(), 'archive');
  if (part !== undefined) await writeFile(`${file}.partial`, part);
  if (whole !== undefined) await writeFile(file, whole);
  if (note !== undefined)
    await writeFile(`${file}.partial.json`, typeof note === 'string' ? note : JSON.stringify(note));
  return file;
}

const fetchTo = (file: string, urls: string[], signal = new AbortController().signal) =>
  download({ urls, sha256: sha256(CONTENT), file, hostFile: '/x' }, signal, LIMITS);

const noteOf = (url: string, change: object = {}) => ({
  urlSha256: sha256(url),
  validator: '"v1"',
  totalBytes: CONTENT.length,
  ...change,
});

async function expectComplete(file: string): Promise<void> {
  expect((await readFile(file)).equals(CONTENT)).toBe(true);
  expect(await readdir(join(file, '..'))).toEqual(['archive']);
}

describe('a download after the death of another process', () => {
  it('asks only for what is missing, and counts only that as written', async () => {
    const { url, asked } = await serve(fileServer(CONTENT));
    const file = await leave({ part: CONTENT.subarray(0, 60_000), note: noteOf(url) });
    expect(await fetchTo(file, [url])).toBe(40_000);
    expect(asked).toMatchObject([{ range: 'bytes=60000-' }]);
    await expectComplete(file);
  });

  it.each([
    [
      'nothing, when all of it had come',
      (url: string) => ({ part: CONTENT, note: noteOf(url) }),
      0,
    ],
    ['nothing, when it had its name already', () => ({ whole: CONTENT }), 0],
    ['all, when the file under its name is another', () => ({ whole: Buffer.from('x') }), 1],
    [
      'all, when the part belongs to another URL',
      () => ({ part: CONTENT, note: noteOf('http://other') }),
      1,
    ],
    ['all, when nobody noted what the part is of', () => ({ part: CONTENT.subarray(0, 9) }), 1],
    [
      'all, when the note is cut off',
      () => ({ part: CONTENT.subarray(0, 9), note: '{"urlSha' }),
      1,
    ],
    [
      'all, when the server has another by now',
      (url: string) => ({ part: Buffer.from('old'), note: noteOf(url, { validator: '"v0"' }) }),
      1,
    ],
    [
      'all anew, when the disk had lost a part of what came',
      (url: string) => ({ part: Buffer.alloc(60_000), note: noteOf(url) }),
      2,
    ],
    [
      'all anew, when the part is longer than the whole',
      (url: string) => ({
        part: Buffer.alloc(200_000),
        note: noteOf(url, { totalBytes: undefined }),
      }),
      2,
    ],
  ] as [string, (url: string) => Left, number][])('asks for %s', async (_, left, requests) => {
    const { url, asked } = await serve(fileServer(CONTENT));
    const file = await leave(left(url));
    await download(
      { urls: [url], sha256: sha256(CONTENT), file, hostFile: '/x' },
      new AbortController().signal,
      { ...LIMITS, attempts: 2 },
    );
    expect(asked).toHaveLength(requests);
    await expectComplete(file);
  });

  it('asks for room for what is missing, and gives up what it has when there is none', async () => {
    const { url } = await serve(fileServer(CONTENT));
    const file = await leave({ part: CONTENT.subarray(0, 60_000), note: noteOf(url) });
    let wantedBytes = 0;
    const requireRoom = (bytes: number): Promise<void> => {
      wantedBytes = bytes;
      const parameters = { path: '/opt/kata', haveBytes: 1, needBytes: bytes };
      return Promise.reject(new KataError('KATA_E_DISK_SPACE', parameters));
    };
    const options = { urls: [url], sha256: sha256(CONTENT), file, hostFile: '/x', requireRoom };
    await expect(download(options, new AbortController().signal, LIMITS)).rejects.toMatchObject({
      code: 'KATA_E_DISK_SPACE',
    });
    expect(wantedBytes).toBe(40_000);
    expect(await readdir(join(file, '..'))).toEqual([]);
  });

  it('leaves what came, and no URL, when the network fails or the program is stopped', async () => {
    const stop = new AbortController();
    let file = '';
    const { url } = await serve((request, response) => {
      response.writeHead(200, { etag: '"v1"', 'content-length': CONTENT.length });
      response.write(CONTENT.subarray(0, 50_000));
      void whenWritten(
        () => `${file}.partial`,
        50_000,
        () => {
          if (request.url === '/stopped?token=secret') stop.abort(new Error('stopped'));
          else response.destroy();
        },
      );
    });
    for (const path of ['/broken?token=secret', '/stopped?token=secret']) {
      file = await leave({});
      await expect(fetchTo(file, [url + path], stop.signal)).rejects.toThrow();
      expect((await readFile(`${file}.partial`)).equals(CONTENT.subarray(0, 50_000))).toBe(true);
      const note = await readFile(`${file}.partial.json`, 'utf8');
      expect(JSON.parse(note)).toEqual(noteOf(url + path));
      expect(note).not.toContain('secret');
    }
  });

  it('leaves nothing of what has a wrong digest', async () => {
    const { url } = await serve(fileServer(Buffer.from('something else')));
    const file = await leave({});
    await expect(fetchTo(file, [url])).rejects.toMatchObject({ code: 'KATA_E_ARTIFACT_DIGEST' });
    await expect(access(`${file}.partial`)).rejects.toThrow();
  });

  it('ends with the right content wherever it was interrupted, whatever lies there', async () => {
    const { url } = await serve(fileServer(CONTENT));
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: CONTENT.length }),
        fc.nat({ max: 200 }),
        fc.boolean(),
        async (keptBytes, damagedBytes, isOfThisUrl) => {
          const part = Buffer.concat([CONTENT.subarray(0, keptBytes), Buffer.alloc(damagedBytes)]);
          const file = await leave({ part, note: noteOf(isOfThisUrl ? url : 'other') });
          const options = { urls: [url], sha256: sha256(CONTENT), file, hostFile: '/x' };
          await download(options, new AbortController().signal, { ...LIMITS, attempts: 3 });
          await expectComplete(file);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe('retries', () => {
  const NODES = 5000;

  /** How many of the nodes that failed in the same instant come back in the busiest second of this retry. */
  function busiestSecond(attempt: number, retryAfterMs?: number): number {
    const seconds = new Map<number, number>();
    for (let node = 0; node < NODES; node += 1) {
      const delayMs = retryDelayMs(attempt, retryAfterMs, DOWNLOAD_LIMITS, Math.random());
      const second = Math.floor(delayMs / 1000);
      seconds.set(second, (seconds.get(second) ?? 0) + 1);
    }
    return Math.max(...seconds.values());
  }

  it('of 5,000 nodes spread ever wider: twice as wide with each', () => {
    const share = [1, 2, 3, 4].map((attempt) => busiestSecond(attempt) / NODES);
    const even = [1 / 4, 1 / 8, 1 / 16, 1 / 32];
    for (const [index, of] of share.entries()) expect(of).toBeLessThan(1.5 * (even[index] ?? 0));
  });

  it('of nodes that were all told the same time spread as well', () => {
    expect(busiestSecond(1, 30_000) / NODES).toBeLessThan(1.5 / 30);
    expect(retryDelayMs(1, 30_000, DOWNLOAD_LIMITS, 0)).toBe(30_000);
  });

  it('wait a bounded time, whatever the server asks for', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.nat(),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (attempt, retryAfterMs, random) => {
          const delayMs = retryDelayMs(attempt, retryAfterMs, DOWNLOAD_LIMITS, random);
          expect(delayMs).toBeGreaterThanOrEqual(0);
          expect(delayMs).toBeLessThanOrEqual(2 * DOWNLOAD_LIMITS.maxBackoffMs);
        },
      ),
    );
  });
});
