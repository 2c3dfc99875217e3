import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiError } from '../../../src/kube/errors.ts';
import {
  createTransport,
  type AttemptRecord,
  type Transport,
  type TransportOptions,
  type TransportRequest,
} from '../../../src/kube/transport.ts';
import {
  eventually,
  failure,
  hang,
  json,
  kubeConfigFor,
  reset,
  ScriptedServer,
  watch,
} from './scriptedServer.ts';

const PATH = '/api/v1/nodes/a';
const ANSWER = { metadata: { name: 'a' } };

describe('Transport', () => {
  let server: ScriptedServer;
  let transport: Transport;
  const signal = AbortSignal.timeout(30_000);

  beforeEach(async () => {
    server = await ScriptedServer.start();
    transport = createTransport(server.kubeConfig());
  });

  afterEach(async () => {
    await transport.close();
    await server.close();
  });

  function ask(more: Partial<TransportRequest> = {}): Promise<unknown> {
    return transport.request({ method: 'GET', path: PATH, signal, ...more });
  }

  async function restart(
    user: { token?: string; tokenFile?: string },
    options: TransportOptions = {},
  ): Promise<void> {
    await transport.close();
    transport = createTransport(server.kubeConfig(user), options);
  }

  it('keeps its connection for the next request', async () => {
    server.on(`GET ${PATH}`, json(ANSWER));
    for (let index = 0; index < 20; index++) await ask();
    // Two: the next request may come before the answer to the last one is off its connection.
    expect(new Set(server.received.map((request) => request.clientPort)).size).toBeLessThanOrEqual(
      2,
    );
  });

  it('opens no more connections than it may, however many requests there are', async () => {
    server.on(`GET ${PATH}`, async (response) => {
      await delay(5);
      response.end(JSON.stringify(ANSWER));
    });
    await Promise.all(Array.from({ length: 300 }, async () => ask()));
    expect(server.received).toHaveLength(300);
    expect(new Set(server.received.map((request) => request.clientPort)).size).toBeLessThanOrEqual(
      64,
    );
  });

  it('gives up a request that gets no answer in time, and makes new connections then', async () => {
    server.on(`GET ${PATH}`, hang, json(ANSWER));
    const startMs = performance.now();
    const thrown = await failed(ask({ timeoutMs: 80 }));
    expect(thrown).toMatchObject({ status: 0, reason: 'Timeout', retryable: true });
    expect(performance.now() - startMs).toBeLessThan(5_000);
    await ask();
    const [first, second] = server.received;
    expect(first?.clientPort).not.toBe(second?.clientPort);
  });

  it('ends a request with the reason of the signal', async () => {
    server.on(`GET ${PATH}`, hang);
    const stop = new AbortController();
    const reason = new Error('shutting down');
    const asking = failed(ask({ signal: stop.signal }));
    await eventually('the request arrived', () => server.received.length === 1);
    stop.abort(reason);
    expect(await asking).toBe(reason);
    expect(await failed(ask({ signal: stop.signal }))).toBe(reason);
    expect(server.received).toHaveLength(1);
  });

  it.each([
    ['GET', 429, undefined],
    ['GET', 503, undefined],
    ['PATCH', 429, 'application/apply-patch+yaml'],
    ['PATCH', 503, 'application/apply-patch+yaml'],
    ['DELETE', 503, undefined],
    ['POST', 429, undefined],
    ['PATCH', 429, 'application/json-patch+json'],
  ] as const)(
    'repeats a %s after %i when the server names a time (%s)',
    async (method, code, contentType) => {
      server.on(
        `${method} ${PATH}`,
        failure(code, 'Busy', 'busy', { retryAfter: 0 }),
        json(ANSWER),
      );
      expect(await ask({ method, contentType, body: method === 'GET' ? undefined : {} })).toEqual(
        ANSWER,
      );
      expect(server.received).toHaveLength(2);
    },
  );

  it('waits as long as the server asks', async () => {
    server.on(
      `PATCH ${PATH}`,
      failure(429, 'TooManyRequests', 'busy', { retryAfter: 1 }),
      json(ANSWER),
    );
    await ask({ method: 'PATCH', contentType: 'application/apply-patch+yaml', body: {} });
    const [first, second] = server.received;
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThanOrEqual(990);
  });

  it.each([
    ['a create, which may have been carried out', 'POST', 503, undefined],
    ['a JSON patch, which may have been carried out', 'PATCH', 503, 'application/json-patch+json'],
  ] as const)('does not repeat %s, after 503', async (_, method, code, contentType) => {
    server.on(`${method} ${PATH}`, failure(code, 'Busy', 'busy', { retryAfter: 1 }));
    const thrown = await failed(ask({ method, contentType, body: {} }));
    expect(thrown).toMatchObject({ status: code, retryAfterMs: 1_000, retryable: true });
    expect(server.received).toHaveLength(1);
  });

  it('repeats no more often than it may', async () => {
    server.on(`GET ${PATH}`, failure(429, 'TooManyRequests', 'busy', { retryAfter: 0 }));
    expect(await failed(ask({ maxRetries: 2 }))).toMatchObject({ status: 429 });
    expect(server.received).toHaveLength(3);
  });

  it('hands a wait that is longer than its own deadline to the caller at once', async () => {
    server.on(`GET ${PATH}`, failure(429, 'TooManyRequests', 'busy', { retryAfter: 7 }));
    const startMs = performance.now();
    expect(await failed(ask({ timeoutMs: 6_000 }))).toMatchObject({
      status: 429,
      retryAfterMs: 7_000,
    });
    expect(performance.now() - startMs).toBeLessThan(5_000);
  });

  it('replaces a connection that was cut, for a request that can be repeated', async () => {
    server.on(`GET ${PATH}`, reset, json(ANSWER)).on(`POST ${PATH}`, reset);
    expect(await ask()).toEqual(ANSWER);
    expect(await failed(ask({ method: 'POST', body: {} }))).toMatchObject({
      status: 0,
      reason: 'ConnectionReset',
      retryable: true,
    });
    expect(server.seen(`POST ${PATH}`)).toHaveLength(1);
  });

  it('says what it could not reach', async () => {
    const { url } = server;
    await server.close();
    const thrown = await failed(ask());
    expect(thrown).toMatchObject({ status: 0, reason: 'ConnectionFailed', retryable: true });
    expect(thrown.message).toContain(new URL(url).port);
    server = await ScriptedServer.start();
  });

  it('reads the token file again when the server refuses the token, once for a request', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'kube-token-'));
    const tokenFile = join(directory, 'token');
    await writeFile(tokenFile, 'first\n');
    await restart({ tokenFile });
    server.on(
      `GET ${PATH}`,
      json(ANSWER),
      failure(401, 'Unauthorized'),
      json(ANSWER),
      failure(401, 'Unauthorized'),
    );
    await ask();
    await writeFile(`${tokenFile}.new`, 'second\n');
    await rename(`${tokenFile}.new`, tokenFile);
    await ask();
    expect(await failed(ask())).toMatchObject({ status: 401 });
    const tokens = server.received.map((request) => request.headers.authorization);
    expect(tokens).toEqual([
      'Bearer first',
      'Bearer first',
      'Bearer second',
      'Bearer second',
      'Bearer second',
    ]);
    await rm(directory, { recursive: true });
  });

  it('reads the token again also when a watch is refused', async () => {
    await restart({ token: 'fixed' });
    server.on(
      `WATCH ${PATH}`,
      failure(401, 'Unauthorized'),
      watch([{ type: 'ADDED', object: 1 }], 'end'),
    );
    expect(
      await collect(
        transport.stream({ path: PATH, query: { watch: true }, signal, idleTimeoutMs: 10_000 }),
      ),
    ).toEqual([{ type: 'ADDED', object: 1 }]);
  });

  it('refuses at the last moment what beforeSend refuses, and sends nothing', async () => {
    server.on(`POST ${PATH}`, json(ANSWER));
    const refused = new Error('not any more');
    const beforeSend = (): void => {
      throw refused;
    };
    expect(await failed(ask({ method: 'POST', body: {}, beforeSend }))).toBe(refused);
    await ask({ method: 'POST', body: { second: true } });
    expect(server.received.map((request) => request.body)).toEqual(['{"second":true}']);
  });

  it('asks beforeSend again for every repetition', async () => {
    server.on(
      `PATCH ${PATH}`,
      failure(429, 'TooManyRequests', 'busy', { retryAfter: 1 }),
      json(ANSWER),
    );
    let allowed = true;
    const beforeSend = (): void => {
      if (!allowed)
        throw new ApiError({
          method: 'PATCH',
          path: PATH,
          status: 0,
          reason: 'NotLeader',
          message: '',
        });
    };
    const asking = failed(
      ask({ method: 'PATCH', body: {}, contentType: 'application/merge-patch+json', beforeSend }),
    );
    await eventually('the first attempt', () => server.received.length === 1);
    allowed = false;
    expect(await asking).toMatchObject({ reason: 'NotLeader' });
    expect(server.received).toHaveLength(1);
  });

  it('asks beforeSend when the connection stands, not before', async () => {
    const order: string[] = [];
    server.on(`POST ${PATH}`, json(ANSWER));
    const asking = ask({ method: 'POST', body: {}, beforeSend: () => order.push('asked') });
    order.push('waiting for the connection');
    await asking;
    expect(order).toEqual(['waiting for the connection', 'asked']);
  });

  it('cuts a stream into objects wherever the network cuts it', async () => {
    const events = [
      { type: 'ADDED', object: { a: 'ü☃' } },
      { type: 'MODIFIED', object: { b: '\n' } },
    ];
    const bytes = Buffer.from(events.map((event) => `${JSON.stringify(event)}\n`).join('\n'));
    server.on(`WATCH ${PATH}`, async (response) => {
      for (const byte of bytes) {
        response.write(Buffer.from([byte]));
        await delay(0);
      }
      response.end();
    });
    expect(
      await collect(
        transport.stream({ path: PATH, query: { watch: true }, signal, idleTimeoutMs: 10_000 }),
      ),
    ).toEqual(events);
  });

  it('does not take half an object for a whole one', async () => {
    server.on(`WATCH ${PATH}`, (response) => {
      response.end('{"type":"ADDED","object":1}\n{"type":"DEL');
    });
    const seen: unknown[] = [];
    const thrown = await failed(
      collect(
        transport.stream({ path: PATH, query: { watch: true }, signal, idleTimeoutMs: 10_000 }),
        seen,
      ),
    );
    expect(seen).toHaveLength(1);
    expect(thrown).toMatchObject({ reason: 'ConnectionReset' });
  });

  it.each([
    ['before it answers', hang],
    ['after its first event', watch([{ type: 'ADDED', object: 1 }], 'silence')],
  ])('tears down a stream that falls silent %s', async (_, step) => {
    server.on(`WATCH ${PATH}`, step);
    const thrown = await failed(
      collect(transport.stream({ path: PATH, query: { watch: true }, signal, idleTimeoutMs: 80 })),
    );
    expect(thrown).toMatchObject({ status: 0, reason: 'IdleTimeout', retryable: true });
    await eventually('the connection is closed', () => server.connections === 0);
  });

  it('does not call a slow reader silence', async () => {
    server.on(
      `WATCH ${PATH}`,
      watch(
        [
          { type: 'ADDED', object: 1 },
          { type: 'ADDED', object: 2 },
        ],
        'end',
      ),
    );
    const seen: unknown[] = [];
    for await (const event of transport.stream({
      path: PATH,
      query: { watch: true },
      signal,
      idleTimeoutMs: 1_000,
    })) {
      await delay(1_300);
      seen.push(event);
    }
    expect(seen).toHaveLength(2);
  });

  it('closes the connection of a stream that its reader leaves', async () => {
    server.on(`WATCH ${PATH}`, watch([{ type: 'ADDED', object: 1 }], 'silence'));
    for await (const event of transport.stream({
      path: PATH,
      query: { watch: true },
      signal,
      idleTimeoutMs: 5_000,
    })) {
      expect(event).toEqual({ type: 'ADDED', object: 1 });
      break;
    }
    await eventually('the connection is closed', () => server.connections === 0);
  });

  it('tells every attempt to the metrics, also those without an answer', async () => {
    const attempts: AttemptRecord[] = [];
    await restart({}, { metricsHook: (attempt) => attempts.push(attempt) });
    server.on(`GET ${PATH}`, reset, json(ANSWER));
    await ask();
    expect(attempts.map(({ method, path, status }) => [method, path, status])).toEqual([
      ['GET', PATH, 0],
      ['GET', PATH, 200],
    ]);
  });

  it('passes on what the server warns of, such as fields that it drops', async () => {
    const warnings: string[] = [];
    await restart({}, { warningHook: (path, warning) => warnings.push(`${path}: ${warning}`) });
    server.on(`GET ${PATH}`, (response) => {
      response.setHeader('warning', [
        '299 - "unknown field \\"spec.typo\\""',
        '299 - "old"',
        'noise',
      ]);
      response.end(JSON.stringify(ANSWER));
    });
    await ask();
    expect(warnings).toEqual([`${PATH}: unknown field "spec.typo"`, `${PATH}: old`]);
  });

  it('reaches a cluster that is served under a path', async () => {
    server.on('GET /k8s/clusters/c-1/api/v1/nodes/a', json(ANSWER));
    const config = kubeConfigFor({ server: `${server.url}/k8s/clusters/c-1/` });
    const rancher = createTransport(config);
    expect(await rancher.request({ method: 'GET', path: PATH, signal })).toEqual(ANSWER);
    await rancher.close();
  });

  it('never shows a token in an error', async () => {
    await restart({ token: 'very-secret' });
    server.on(`GET ${PATH}`, failure(403, 'Forbidden', 'no'));
    const thrown = await failed(ask());
    expect(JSON.stringify([thrown, thrown.message, thrown.stack])).not.toContain('very-secret');
  });

  it('ends what is under way when it is closed', async () => {
    server.on(`GET ${PATH}`, hang);
    const asking = failed(ask());
    await eventually('the request arrived', () => server.received.length === 1);
    await transport.close();
    expect(await asking).toMatchObject({ status: 0 });
    expect(await failed(ask())).toBeInstanceOf(Error);
  });
});

async function collect(events: AsyncIterable<unknown>, into: unknown[] = []): Promise<unknown[]> {
  for await (const event of events) into.push(event);
  return into;
}

async function failed(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (outcome instanceof Error) return outcome;
  throw new Error('the call did not fail');
}
