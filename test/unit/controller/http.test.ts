import { createServer } from 'node:net';
import { once } from 'node:events';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { createHttpServer, listenOnAny } from '../../../src/controller/server/http.ts';
import { parseSelfTestOptions } from '../../../src/controller/options.ts';

/** Of the range for documentation: no machine has it. Without IPv6 the error is another, and means the same. */
const NOBODYS = '2001:db8::1';

describe('the operations port', () => {
  function aServer(missing?: string): ReturnType<typeof createHttpServer> {
    return createHttpServer({
      registry: new Registry(),
      refresh: () => undefined,
      notReady: () => missing,
    });
  }

  it('listens on the next address where the kernel has no such one', async () => {
    const server = aServer();
    try {
      const url = await listenOnAny(server, 0, [NOBODYS, '127.0.0.1']);
      const answer = await fetch(`${url}/readyz`);
      expect([answer.status, await answer.text()]).toEqual([200, 'ok\n']);
    } finally {
      await server.close();
    }
  });

  it('takes 0.0.0.0 where the kernel was started without IPv6', async () => {
    const tried: unknown[] = [];
    const listen = (options: { host: string }): Promise<string> => {
      tried.push(options.host);
      const error = Object.assign(new Error('no'), { code: 'EAFNOSUPPORT' });
      return options.host === '::' ? Promise.reject(error) : Promise.resolve('');
    };
    await listenOnAny({ listen } as Parameters<typeof listenOnAny>[0], 8080);
    expect(tried).toEqual(['::', '0.0.0.0']);
  });

  it('does not hide that the port is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    const server = aServer();
    await expect(listenOnAny(server, port, ['127.0.0.1', '0.0.0.0'])).rejects.toThrow('EADDRINUSE');
    await server.close();
    other.close();
  });

  it('says what is missing for being ready', async () => {
    const server = aServer('the caches are not filled yet');
    const { statusCode, body } = await server.inject('/readyz');
    expect([statusCode, body]).toEqual([503, 'the caches are not filled yet\n']);
    await server.close();
  });
});

describe('the self-test', () => {
  it.each([
    ['fd00::1', 'http://[fd00::1]:8080/readyz'],
    ['10.0.0.1', 'http://10.0.0.1:8080/readyz'],
    ['kata-operator.ns.svc', 'http://kata-operator.ns.svc:8080/readyz'],
  ])('asks %s as %s', (host, url) => {
    expect(parseSelfTestOptions(['--host', host, '--port', '8080'])).toEqual({ url });
    expect(new URL(url).pathname).toBe('/readyz');
  });
});
