import { readFile, readdir } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DOWNLOAD_LIMITS, displayUrl, download } from '../../../../src/node/artifacts/download.ts';
import { sha256 } from '../fixtures/archives.ts';
import { temporaryDirectory } from '../fixtures/host.ts';

const CONTENT = Buffer.alloc(100_000, 'kata');
const LIMITS = { ...DOWNLOAD_LIMITS, idleMs: 300, backoffMs: 1 };

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
  options: { digest?: string; limits?: Partial<typeof LIMITS>; signal?: AbortSignal } = {},
) {
  const directory = await temporaryDirectory();
  const file = join(directory, 'archive');
  const work = download(
    {
      url,
      sha256: options.digest ?? sha256(CONTENT),
      file,
      hostFile: '/opt/kata/state/download/archive',
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
      const { directory, work } = await fetchFrom(url, { limits: { attempts: 1 } });
      await expect(work).rejects.toMatchObject({
        code: 'KATA_E_ARTIFACT_FETCH',
        message: expect.stringContaining('nothing came for 0.3 s') as string,
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
});
