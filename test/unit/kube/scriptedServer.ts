/**
 * An API server that does what a script says, fault by fault, over real sockets. It knows nothing of
 * Kubernetes: what a real server would answer is written in the test, as documentation of the wire.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly atMs: number;
  /** Port on the client's side: tells connections apart. */
  readonly clientPort: number;
}

/** What the server does with one request. */
export type Step = (response: ServerResponse, request: Received) => void | Promise<void>;

interface Route {
  readonly matches: (request: Received) => boolean;
  readonly steps: Step[];
}

export class ScriptedServer {
  readonly received: Received[] = [];
  readonly #routes: Route[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    server.on('request', (request, response) => {
      this.#answer(request, response).catch((thrown: unknown) => {
        response.destroy(thrown instanceof Error ? thrown : undefined);
      });
    });
  }

  static async start(): Promise<ScriptedServer> {
    const server = createServer({ keepAlive: true });
    const scripted = new ScriptedServer(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return scripted;
  }

  get url(): string {
    const address = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${address.port}`;
  }

  kubeConfig(user: { token?: string; tokenFile?: string } = {}): KubeConfig {
    return kubeConfigFor({ server: this.url }, user);
  }

  /** Steps in order for requests to this path; the last one is repeated. A watch is `WATCH /path`. */
  on(methodAndPath: string, ...steps: Step[]): this {
    const [method, path] = methodAndPath.split(' ');
    this.#routes.push({
      steps,
      matches: (request) =>
        request.path === path && method === (request.query.has('watch') ? 'WATCH' : request.method),
    });
    return this;
  }

  /** Requests to `METHOD /path`, in order. */
  seen(methodAndPath: string): Received[] {
    const [method, path] = methodAndPath.split(' ');
    return this.received.filter(
      (request) =>
        request.path === path && method === (request.query.has('watch') ? 'WATCH' : request.method),
    );
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#sockets.size;
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  async #answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '/', 'http://server');
    let body = '';
    for await (const chunk of incoming.setEncoding('utf8') as AsyncIterable<string>) body += chunk;
    const request: Received = {
      method: incoming.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      body,
      atMs: performance.now(),
      clientPort: incoming.socket.remotePort ?? 0,
    };
    this.received.push(request);
    const route = this.#routes.find((candidate) => candidate.matches(request));
    const step = (route?.steps.length ?? 0) > 1 ? route?.steps.shift() : route?.steps[0];
    await (step ?? failure(404, 'NotFound', `no script for ${request.method} ${request.path}`))(
      response,
      request,
    );
  }
}

export function kubeConfigFor(
  cluster: { server: string; caFile?: string },
  user: { token?: string; tokenFile?: string } = {},
): KubeConfig {
  const config = new KubeConfig();
  config.loadFromOptions({
    // A server without TLS is accepted only together with skipTLSVerify.
    clusters: [{ name: 'scripted', skipTLSVerify: cluster.server.startsWith('http:'), ...cluster }],
    users: [
      {
        name: 'test',
        ...(user.token === undefined ? {} : { token: user.token }),
        ...(user.tokenFile === undefined
          ? {}
          : { authProvider: { name: 'tokenFile', config: { tokenFile: user.tokenFile } } }),
      },
    ],
    contexts: [{ name: 'test', cluster: 'scripted', user: 'test' }],
    currentContext: 'test',
  });
  return config;
}

/** Answers with JSON. */
export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Step {
  return (response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(body));
  };
}

/** Answers with a Status object, as the API server refuses things. */
export function failure(
  code: number,
  reason: string,
  message = reason,
  extra: { retryAfter?: number; details?: object } = {},
): Step {
  const headers: Record<string, string> =
    extra.retryAfter === undefined ? {} : { 'retry-after': String(extra.retryAfter) };
  return json(statusObject(code, reason, message, extra.details), code, headers);
}

export function statusObject(
  code: number,
  reason: string,
  message = reason,
  details?: object,
): object {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    status: 'Failure',
    reason,
    message,
    code,
    ...(details === undefined ? {} : { details }),
  };
}

export function list(items: object[], resourceVersion: string, continueToken?: string): Step {
  return json({
    kind: 'List',
    apiVersion: 'v1',
    metadata: { resourceVersion, ...(continueToken ? { continue: continueToken } : {}) },
    items,
  });
}

/** Cuts the connection with RST, before an answer. */
export const reset: Step = (response) => {
  response.socket?.resetAndDestroy();
};

/** Reads the request and never answers. */
export const hang: Step = () => undefined;

export interface WatchEvent {
  readonly type: string;
  readonly object: unknown;
}

/** Sends the events and then ends the stream, cuts it, or leaves it open and silent. */
export function watch(events: readonly WatchEvent[], then: 'end' | 'reset' | 'silence'): Step {
  return async (response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    for (const event of events) response.write(`${JSON.stringify(event)}\n`);
    if (then === 'end') response.end();
    if (then === 'reset') {
      // Let what was written leave first.
      await delay(10);
      response.socket?.resetAndDestroy();
    }
  };
}

/** A watch that the test feeds while it is open. */
export class LiveWatch {
  readonly #open: ServerResponse[] = [];

  readonly step: Step = (response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    this.#open.push(response);
  };

  get isOpen(): boolean {
    return this.#open.some((response) => !response.destroyed && !response.writableEnded);
  }

  send(...events: WatchEvent[]): void {
    for (const response of this.#open) {
      if (response.writableEnded) continue;
      for (const event of events) response.write(`${JSON.stringify(event)}\n`);
    }
  }

  end(): void {
    for (const response of this.#open) response.end();
  }
}

export function node(name: string, resourceVersion: string, uid = `uid-${name}`): KubeNode {
  return { metadata: { name, uid, resourceVersion, labels: {} } };
}
export interface KubeNode {
  metadata: { name: string; uid: string; resourceVersion: string; labels: Record<string, string> };
}

export const added = (object: unknown): WatchEvent => ({ type: 'ADDED', object });
export const modified = (object: unknown): WatchEvent => ({ type: 'MODIFIED', object });
export const deleted = (object: unknown): WatchEvent => ({ type: 'DELETED', object });
export const bookmark = (resourceVersion: string): WatchEvent => ({
  type: 'BOOKMARK',
  object: { kind: 'Node', apiVersion: 'v1', metadata: { resourceVersion } },
});
export const errorEvent = (code: number, reason: string): WatchEvent => ({
  type: 'ERROR',
  object: statusObject(code, reason),
});

/** Resolves as soon as the condition holds; fails after the deadline with what was waited for. */
export async function eventually(
  what: string,
  condition: () => boolean,
  deadlineMs = 8_000,
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await delay(5);
  }
}
