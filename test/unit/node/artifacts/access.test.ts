import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Credentials } from '../../../../src/node/artifacts/access.ts';
import { readAccess, type Access } from '../../../../src/node/artifacts/access.ts';
import { DOWNLOAD_LIMITS, download } from '../../../../src/node/artifacts/download.ts';
import type { Proxy } from '../../../../src/node/artifacts/transport.ts';
import { selfSigned } from '../../kube/certificate.ts';
import { sha256 } from '../fixtures/archives.ts';
import { temporaryDirectory } from '../fixtures/host.ts';
import { serve, type Serving } from '../fixtures/serve.ts';

const SECRET = 'correct-horse-battery-staple';
const URLS = ['https://a.example.org/kata.tar.zst', 'https://a.example.org/go.tar.zst'];
const CONTENT = Buffer.from('an archive');

/** As kubelet mounts a Secret. */
async function keys(files: Record<string, string>): Promise<string> {
  const directory = join(await temporaryDirectory(), 'login');
  await mkdir(directory);
  for (const [key, value] of Object.entries(files)) await writeFile(join(directory, key), value);
  return directory;
}

async function credentials(files: Record<string, string>, urls = URLS): Promise<Credentials> {
  const access = await readAccess({ credentials: await keys(files) }, urls);
  if (access.credentials === undefined) throw new Error('there are none');
  return access.credentials;
}

describe('credentials', () => {
  it('are user and password, or a token, without the line end of an editor', async () => {
    const basic = await credentials({ username: 'kata\n', password: `${SECRET}\r\n` });
    const pair = Buffer.from(`kata:${SECRET}`).toString('base64');
    expect(basic.header()).toBe(`Basic ${pair}`);
    expect((await credentials({ token: `${SECRET}\n` })).header()).toBe(`Bearer ${SECRET}`);
  });

  it.each([
    ['the host of the URL', {}, 'https://a.example.org/x', true],
    ['another host', {}, 'https://b.example.org/x', false],
    ['another port', {}, 'https://a.example.org:8443/x', false],
    ['a host below', {}, 'https://evil.a.example.org/x', false],
    ['plain http', {}, 'http://a.example.org/x', false],
    [
      'a host that is named',
      { host: 'b.example.org, c.example.org:8443\n' },
      'https://c.example.org:8443/x',
      true,
    ],
    [
      'the standard port of a named host',
      { host: 'b.example.org:443' },
      'https://b.example.org/x',
      true,
    ],
    [
      'the host of the URL, when others are named',
      { host: 'b.example.org' },
      'https://a.example.org/x',
      false,
    ],
  ])('for %s are sent or kept', async (_, more, url, isFor) => {
    const found = await credentials({ token: SECRET, ...more });
    expect(found.isFor(new URL(url))).toBe(isFor);
  });

  it.each([
    ['that are missing', {}, 'it is missing, or has neither username and password nor token'],
    ['without a password', { username: 'kata' }, 'it has no key password'],
    ['without a user', { password: SECRET }, 'it has no key username'],
    [
      'of both kinds',
      { username: 'a', password: SECRET, token: SECRET },
      'it has both a username and a token',
    ],
    [
      'with a line end inside',
      { token: `${SECRET}\nHost: evil` },
      'its token holds a control character',
    ],
    ['that are empty', { token: '' }, 'its token is empty'],
    [
      'with a colon in the user',
      { username: 'a:b', password: SECRET },
      'its username holds a colon',
    ],
  ])('%s are refused by the name of the key and without its value', async (_, files, cause) => {
    await expect(credentials(files)).rejects.toSatisfy(
      (error: Error & { code: string }) =>
        error.code === 'KATA_E_ARTIFACT_ACCESS' &&
        error.message.endsWith(cause) &&
        !error.message.includes(SECRET),
    );
  });

  it('must say for which host they are when the URLs have several', async () => {
    const urls = [...URLS, 'https://b.example.org/x'];
    await expect(credentials({ token: SECRET }, urls)).rejects.toThrow(
      'must say for which of a.example.org, b.example.org it is',
    );
    const given = await credentials({ token: SECRET, host: 'b.example.org' }, urls);
    expect(given.hosts).toEqual(['b.example.org']);
  });

  it('are called by the name of their Secret in a Pod', async () => {
    await expect(readAccess({ credentials: '/secret/artifact-login' }, URLS)).rejects.toThrow(
      /^Secret artifact-login: it is missing/,
    );
    await expect(readAccess({ ca: '/config-map/corporate-ca/ca.crt' }, URLS)).rejects.toThrow(
      /^ConfigMap corporate-ca: it is missing, or has no key ca.crt/,
    );
  });

  it('are not shown by any way of printing an object', async () => {
    const found = await credentials({ token: SECRET });
    expect(inspect(found, { showHidden: true, depth: 9 }) + JSON.stringify(found)).not.toContain(
      SECRET,
    );
  });
});

describe('certificates', () => {
  it.each([
    ['no PEM', 'hello', 'holds no certificate in PEM form'],
    [
      'a damaged certificate',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      'holds a damaged certificate',
    ],
  ])('with %s are refused', async (_, text, cause) => {
    const ca = join(await keys({ 'ca.crt': text }), 'ca.crt');
    await expect(readAccess({ ca }, URLS)).rejects.toThrow(cause);
  });

  it('are trusted in addition to those of the system', async () => {
    const ca = join(await keys({ 'ca.crt': selfSigned('ours').certificate }), 'ca.crt');
    const access = await readAccess({ ca }, URLS);
    expect(access.ca?.length).toBeGreaterThan(50);
  });
});

describe('a download over TLS', () => {
  const identity = selfSigned('127.0.0.1');

  async function access(serving: Serving, more: Record<string, string> = {}): Promise<Access> {
    const ca = join(await keys({ 'ca.crt': identity.certificate }), 'ca.crt');
    const login = await keys({ username: 'kata', password: SECRET, ...more });
    return readAccess({ ca, credentials: login }, [serving.url]);
  }

  async function fetchFrom(url: string, granted: Access, proxy?: Proxy): Promise<string> {
    const file = join(await temporaryDirectory(), 'archive');
    const options = {
      urls: [url],
      sha256: sha256(CONTENT),
      file,
      hostFile: '/x',
      access: granted,
      proxy,
    };
    const limits = { ...DOWNLOAD_LIMITS, attempts: 2, backoffMs: 1, idleMs: 500 };
    return download(options, new AbortController().signal, limits).then(
      () => 'done',
      (error: unknown) => String(error),
    );
  }

  const EXPECTED = `Basic ${Buffer.from(`kata:${SECRET}`).toString('base64')}`;
  const guarded: RequestListener = (request, response) => {
    if (request.headers.authorization === EXPECTED) response.end(CONTENT);
    else response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
  };

  it('signs in at a server of a private authority', async () => {
    const server = await serve(guarded, identity);
    expect(await fetchFrom(server.url, await access(server))).toBe('done');
    expect(server.asked.map(({ authorization }) => authorization)).toEqual([EXPECTED]);
  });

  it('says at once that a certificate is not trusted, and sends nothing', async () => {
    const server = await serve(guarded, identity);
    expect(await fetchFrom(server.url, {})).toContain('its certificate is not trusted');
    expect(server.asked).toEqual([]);
  });

  it.each([
    [{ password: 'wrong' }, 'with credentials'],
    [{ host: 'b.example.org' }, 'without credentials: they are for b.example.org'],
  ])('that is refused says whether credentials were sent (%o)', async (more, words) => {
    const server = await serve(guarded, identity);
    const said = await fetchFrom(server.url, await access(server, more));
    expect(said).toContain('HTTP status 401');
    expect(said).toContain(words);
    expect(said).not.toContain(SECRET);
    expect(server.asked).toHaveLength(1);
  });

  it('keeps credentials through a redirect of the same host, and from every other', async () => {
    const other = await serve((_, response) => response.end(CONTENT), identity);
    const plain = await serve((_, response) => response.end(CONTENT));
    for (const elsewhere of [other, plain]) {
      const server = await serve((request, response) => {
        const location = request.url === '/1' ? `${elsewhere.url}/2` : '/1';
        response.writeHead(302, { location }).end();
      }, identity);
      expect(await fetchFrom(`${server.url}/0`, await access(server))).toBe('done');
      expect(server.asked.map(({ authorization }) => authorization)).toEqual([EXPECTED, EXPECTED]);
      expect(elsewhere.asked).toMatchObject([{ path: '/2', authorization: undefined }]);
    }
  });

  it('goes through a proxy to the server, which alone hears the password', async () => {
    const server = await serve(guarded, identity);
    const heard: string[] = [];
    const proxy = createServer();
    proxy.on('connect', ({ url = '', headers }, socket: Socket) => {
      heard.push(JSON.stringify([url, headers]));
      const { hostname, port } = new URL(`https://${url}`);
      const through = connect(Number(port), hostname, () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        socket.pipe(through).pipe(socket);
      });
      for (const end of [socket, through]) end.on('error', () => through.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      proxy.close();
    });
    const { port } = proxy.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}`;
    expect(await fetchFrom(server.url, await access(server), { url })).toBe('done');
    expect(server.asked.map(({ authorization }) => authorization)).toEqual([EXPECTED]);
    expect(heard).toHaveLength(1);
    expect(heard[0]?.toLowerCase()).not.toContain('authorization');
  });

  it('never sends them over plain http, and says that it did not', async () => {
    const server = await serve(guarded);
    const said = await fetchFrom(server.url, await access(server));
    expect(said).toContain('they are sent over https alone');
    expect(server.asked).toMatchObject([{ authorization: undefined }]);
  });

  it.each([
    [403, 1, 'HTTP status 403'],
    [404, 1, 'HTTP status 404'],
    [500, 2, 'HTTP status 500'],
    [503, 2, 'HTTP status 503'],
  ])('answered by %i is tried %i times and shows no secret', async (status, tries, words) => {
    const server = await serve((_, response) => response.writeHead(status).end(SECRET), identity);
    const said = await fetchFrom(server.url, await access(server));
    expect(said).toContain(words);
    expect(said).not.toContain(SECRET);
    expect(server.asked).toHaveLength(tries);
  });

  it.each([
    [
      'is shorter than was said',
      'the connection broke',
      (send: (part: Buffer) => void, end: () => void) => {
        send(CONTENT.subarray(0, 3));
        setTimeout(end, 20);
      },
    ],
    [
      'comes byte by byte',
      'bytes came for 0.5 s',
      (send: (part: Buffer) => void) => {
        const timer = setInterval(() => {
          send(Buffer.from('x'));
        }, 50);
        setTimeout(() => {
          clearInterval(timer);
        }, 2000);
      },
    ],
  ] as const)('whose body %s ends in bounded time', async (_, words, body) => {
    const server = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 1000 });
      body(
        (part) => response.write(part),
        () => response.destroy(),
      );
    }, identity);
    expect(await fetchFrom(server.url, await access(server))).toContain(words);
    expect(server.asked).toHaveLength(2);
  });
});
