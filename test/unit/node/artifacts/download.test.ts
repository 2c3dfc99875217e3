import { readFile, readdir } from 'node:fs/promises';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { KataError } from '../../../../src/errors.ts';
import { DOWNLOAD_LIMITS, displayUrl, download } from '../../../../src/node/artifacts/download.ts';
import type { Proxy } from '../../../../src/node/artifacts/transport.ts';
import { sha256 } from '../fixtures/archives.ts';
import { temporaryDirectory } from '../fixtures/host.ts';
import { whenWritten } from '../fixtures/serve.ts';

const CONTENT = Buffer.alloc(100_000, 'kata');
const LIMITS = { ...DOWNLOAD_LIMITS, idleMs: 10_000, attempts: 3, backoffMs: 1 };

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function fetchFrom(
  url: string,
  options: {
    mirrors?: string[];
    proxy?: Proxy;
    digest?: string;
    limits?: Partial<typeof LIMITS>;
    signal?: AbortSignal;
  } = {},
) {
  const directory = await temporaryDirectory();
  const file = join(directory, 'archive');
  const work = download(
    {
      urls: [url, ...(options.mirrors ?? [])],
      sha256: options.digest ?? sha256(CONTENT),
      file,
      hostFile: '/opt/kata/state/download/archive',
      proxy: options.proxy,
    },
    options.signal ?? new AbortController().signal,
    { ...LIMITS, ...options.limits },
  );
  return { directory, file, work };
}

describe('a download', () => {
  it('is in the file when it ends, and was what was asked for', async () => {
    const url = await serve((_, response) => response.end(CONTENT));
    const { file, work } = await fetchFrom(url);
    await work;
    expect((await readFile(file)).equals(CONTENT)).toBe(true);
  });

  it('follows redirects, relative ones too, a bounded number of times', async () => {
    const url = await serve((request, response) => {
      const step = Number(request.url?.slice(1) ?? 0);
      if (step < 3) response.writeHead(302, { location: `/${step + 1}` }).end();
      else response.end(CONTENT);
    });
    await (
      await fetchFrom(`${url}/0`)
    ).work;
    await expect(
      (await fetchFrom(`${url}/0`, { limits: { maxRedirects: 2 } })).work,
    ).rejects.toMatchObject({
      code: 'KATA_E_ARTIFACT_FETCH',
      message: expect.stringContaining('redirects too often') as string,
    });
  });

  it('never follows a redirect to anything but http', async () => {
    const url = await serve((_, response) =>
      response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    );
    await expect((await fetchFrom(url)).work).rejects.toMatchObject({
      code: 'KATA_E_ARTIFACT_FETCH',
    });
  });

  it('with another digest is refused at once, names both digests and leaves no file', async () => {
    let requests = 0;
    const url = await serve((_, response) => {
      requests += 1;
      response.end(CONTENT);
    });
    const digest = 'a'.repeat(64);
    const { directory, work } = await fetchFrom(url, { digest });
    await expect(work).rejects.toMatchObject({
      code: 'KATA_E_ARTIFACT_DIGEST',
      parameters: { wanted: digest, found: sha256(CONTENT) },
    });
    expect(requests).toBe(1);
    expect(await readdir(directory)).toEqual([]);
  });

  it.each([
    [404, 1],
    [403, 1],
    [500, 3],
    [503, 3],
    [429, 3],
  ])('that is answered by %i is tried %i times and says so', async (status, tries) => {
    let requests = 0;
    const url = await serve((_, response) => {
      requests += 1;
      response.writeHead(status).end('sorry');
    });
    await expect((await fetchFrom(url)).work).rejects.toMatchObject({
      code: 'KATA_E_ARTIFACT_FETCH',
      message: expect.stringContaining(`HTTP status ${status}`) as string,
    });
    expect(requests).toBe(tries);
  });

  it('that breaks off is begun again, and succeeds when the server does', async () => {
    let requests = 0;
    const url = await serve((_, response) => {
      requests += 1;
      if (requests > 1) {
        response.end(CONTENT);
        return;
      }
      response.writeHead(200, { 'content-length': CONTENT.length });
      response.write(CONTENT.subarray(0, 1000), () => response.destroy());
    });
    const { file, work } = await fetchFrom(url);
    await work;
    expect(requests).toBe(2);
    expect((await readFile(file)).length).toBe(CONTENT.length);
  });

  it.each([
    ['never answers', () => undefined],
    [
      'stops in the middle',
      (_: unknown, response: { write: (chunk: Buffer) => void }) => {
        response.write(CONTENT.subarray(0, 10));
      },
    ],
  ] as [string, RequestListener][])(
    'from a server that %s ends in bounded time',
    async (_, listener) => {
      const url = await serve(listener);
      const { directory, work } = await fetchFrom(url, { limits: { attempts: 1, idleMs: 300 } });
      await expect(work).rejects.toMatchObject({
        code: 'KATA_E_ARTIFACT_FETCH',
        message: expect.stringMatching(/(nothing|only 10 bytes) came for 0.3 s/) as string,
      });
      expect(await readdir(directory)).toEqual([]);
    },
  );

  it('that is larger than allowed is cut off', async () => {
    const url = await serve((_, response) => response.end(CONTENT));
    await expect(
      (await fetchFrom(url, { limits: { maxBytes: 50_000 } })).work,
    ).rejects.toMatchObject({
      message: expect.stringContaining('larger than 50000 bytes') as string,
    });
  });

  it('from a port where nobody listens names the cause', async () => {
    const { work } = await fetchFrom('http://127.0.0.1:1/kata.tar.zst', {
      limits: { attempts: 2 },
    });
    await expect(work).rejects.toMatchObject({
      code: 'KATA_E_ARTIFACT_FETCH',
      message: expect.stringMatching(/127\.0\.0\.1:1.*(ECONNREFUSED|bad port)/) as string,
    });
  });

  it('ends at once when the run is stopped', async () => {
    const url = await serve(() => undefined);
    const stop = new AbortController();
    const { work } = await fetchFrom(url, { signal: stop.signal, limits: { idleMs: 60_000 } });
    setTimeout(() => {
      stop.abort(new Error('stopped'));
    }, 50);
    await expect(work).rejects.toThrow('stopped');
  });

  it('signs in with the user and password of the URL, at that host only', async () => {
    const seen: (string | undefined)[] = [];
    const second = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.end(CONTENT);
    });
    const first = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(307, { location: `${second}/x` }).end();
    });
    await (
      await fetchFrom(first.replace('http://', 'http://us%40er:secret@'))
    ).work;
    expect(seen).toEqual([`Basic ${Buffer.from('us@er:secret').toString('base64')}`, undefined]);
  });

  it('never shows credentials or a signed query', async () => {
    expect(displayUrl('https://user:secret@example.org/a/kata.tar.zst?signature=secret')).toBe(
      'https://example.org/a/kata.tar.zst',
    );
    const { work } = await fetchFrom('http://user:secret@127.0.0.1:1/kata?token=secret', {
      limits: { attempts: 1 },
    });
    await expect(work).rejects.toSatisfy((error: Error) => !error.message.includes('secret'));
  });

  it('goes on where it broke off, when the server still has the same', async () => {
    const ranges: unknown[] = [];
    let file = '';
    const url = await serve((request, response) => {
      ranges.push([request.headers.range, request.headers['if-range']]);
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      const part = CONTENT.subarray(start, start + 40_000);
      const isLast = start + part.length === CONTENT.length;
      response.writeHead(start === 0 ? 200 : 206, {
        etag: '"v1"',
        'content-length': CONTENT.length - start,
        ...(start === 0 ? {} : { 'content-range': `bytes ${start}-99999/100000` }),
      });
      if (isLast) {
        response.end(part);
        return;
      }
      response.write(part);
      void whenWritten(
        () => `${file}.partial`,
        start + part.length,
        () => response.destroy(),
      );
    });
    const begun = await fetchFrom(url);
    file = begun.file;
    await begun.work;
    expect((await readFile(file)).equals(CONTENT)).toBe(true);
    expect(ranges).toEqual([
      [undefined, undefined],
      ['bytes=40000-', '"v1"'],
      ['bytes=80000-', '"v1"'],
    ]);
  });

  it('begins anew when the server has something else by now', async () => {
    const old = Buffer.alloc(100_000, 'old!');
    let requests = 0;
    const url = await serve((_, response) => {
      requests += 1;
      response.setHeader('etag', `"${requests}"`);
      if (requests > 1) {
        response.end(CONTENT);
        return;
      }
      response.writeHead(200, { 'content-length': old.length });
      response.write(old.subarray(0, 50_000), () => setTimeout(() => response.destroy(), 20));
    });
    const { file, work } = await fetchFrom(url);
    await work;
    expect((await readFile(file)).equals(CONTENT)).toBe(true);
  });

  it('asks for the rest of nothing that the server gave no name', async () => {
    const ranges: unknown[] = [];
    const url = await serve((request, response) => {
      ranges.push(request.headers.range);
      if (ranges.length > 1) {
        response.end(CONTENT);
        return;
      }
      response.writeHead(200, { etag: 'W/"weak"', 'content-length': CONTENT.length });
      response.write(CONTENT.subarray(0, 1000), () => setTimeout(() => response.destroy(), 20));
    });
    await (
      await fetchFrom(url)
    ).work;
    expect(ranges).toEqual([undefined, undefined]);
  });

  it('refuses another part than it asked for', async () => {
    const url = await serve((_, response) =>
      response.writeHead(206, { 'content-range': 'bytes 5-9/10' }).end('12345'),
    );
    await expect((await fetchFrom(url)).work).rejects.toMatchObject({
      message: expect.stringContaining('another part') as string,
    });
  });

  it.each([
    ['has it not', (_: unknown, response: ServerResponse) => response.writeHead(404).end()],
    ['has another content', (_: unknown, response: ServerResponse) => response.end('evil')],
    ['fails', (_: unknown, response: ServerResponse) => response.writeHead(500).end()],
  ])('comes from a mirror when the first server %s', async (_, listener) => {
    const first = await serve(listener);
    const second = await serve((_request, response) => response.end(CONTENT));
    const { file, work } = await fetchFrom(first, { mirrors: [second] });
    await work;
    expect((await readFile(file)).equals(CONTENT)).toBe(true);
  });

  it('that no mirror has names the last one', async () => {
    const first = await serve((_, response) => response.writeHead(404).end());
    const second = await serve((_, response) => response.writeHead(403).end());
    const { directory, work } = await fetchFrom(first, { mirrors: [second] });
    await expect(work).rejects.toMatchObject({
      message: expect.stringContaining(`${second}/: HTTP status 403`) as string,
    });
    expect(await readdir(directory)).toEqual([]);
  });

  it('waits for as long as the server asks, within bounds', async () => {
    const times: number[] = [];
    const url = await serve((_, response) => {
      times.push(performance.now());
      if (times.length > 1) response.end(CONTENT);
      else response.writeHead(503, { 'retry-after': '3600' }).end();
    });
    await (
      await fetchFrom(url, { limits: { maxBackoffMs: 200 } })
    ).work;
    const [first = 0, second = 0] = times;
    expect(second - first).toBeGreaterThan(190);
  });

  it('goes through the proxy, save to those hosts that need none', async () => {
    const asked: string[] = [];
    const proxy = await serve((request, response) => {
      asked.push(request.url ?? '');
      response.end(CONTENT);
    });
    const direct = await serve((_, response) => response.end(CONTENT));
    const url = 'http://archives.example/kata.tar.zst';
    await (
      await fetchFrom(url, { proxy: { url: proxy, noProxy: '127.0.0.1' } })
    ).work;
    await (
      await fetchFrom(direct, { proxy: { url: proxy, noProxy: '127.0.0.1' } })
    ).work;
    expect(asked).toEqual([url]);
  });

  it('never shows the credentials of a proxy that refuses', async () => {
    const proxy = createServer();
    proxy.on('connect', (_, socket: Socket) => {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      proxy.close();
    });
    const { port } = proxy.address() as AddressInfo;
    const { work } = await fetchFrom('https://archives.example/kata.tar.zst', {
      proxy: { url: `http://user:secret@127.0.0.1:${port}` },
      limits: { attempts: 1 },
    });
    await expect(work).rejects.toSatisfy(
      (error: Error) => !error.message.includes('secret') && /407|proxy/i.test(error.message),
    );
  });

  it('that does not fit is refused before a byte is written', async () => {
    const url = await serve((_, response) => response.end(CONTENT));
    const directory = await temporaryDirectory();
    const file = join(directory, 'archive');
    let wantedBytes = 0;
    const requireRoom = (bytes: number): Promise<void> => {
      wantedBytes = bytes;
      return Promise.reject(
        new KataError('KATA_E_DISK_SPACE', { path: '/opt', haveBytes: 1, needBytes: bytes }),
      );
    };
    const options = {
      urls: [url, url],
      sha256: sha256(CONTENT),
      file,
      hostFile: '/x',
      requireRoom,
    };
    await expect(download(options, new AbortController().signal, LIMITS)).rejects.toMatchObject({
      code: 'KATA_E_DISK_SPACE',
    });
    expect(wantedBytes).toBe(CONTENT.length);
    expect(await readdir(directory)).toEqual([]);
  });
});
