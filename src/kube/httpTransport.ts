/**
 * Requests and streams over pooled connections. Owns deadlines, authentication and throttling.
 * It must never wait without a deadline, nor repeat a request that may have been carried out twice.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import type { Dispatcher } from 'undici';
import { scopeOf, sleep, systemClock, type Clock, type Scope } from './clock.ts';
import { Connections } from './connections.ts';
import { CredentialSource } from './credentials.ts';
import { ApiError } from './errors.ts';
import { explain, noAnswer, refusal, warningsOf, type Attempt } from './failure.ts';
import { guarded } from './guard.ts';
import { JsonLines } from './jsonLines.ts';
import { nextAttemptMs, type Attempts } from './retry.ts';
import type {
  Query,
  StreamRequest,
  Transport,
  TransportOptions,
  TransportRequest,
} from './transport.ts';

const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_MAX_RETRIES = 3;

export class HttpTransport implements Transport {
  readonly #clock: Clock;
  readonly #options: TransportOptions;
  readonly #connections: Connections;
  readonly #credentials: CredentialSource;
  readonly #origin: string;
  readonly #prefix: string;

  constructor(kubeConfig: KubeConfig, options: TransportOptions) {
    const cluster = kubeConfig.getCurrentCluster();
    if (cluster === null) throw new Error('the kubeconfig names no cluster');
    const server = new URL(cluster.server);
    this.#origin = server.origin;
    // Some front ends serve a cluster under a path of their own.
    this.#prefix = server.pathname.replace(/\/+$/, '');
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#connections = new Connections(kubeConfig);
    this.#credentials = new CredentialSource(kubeConfig, this.#clock, options.credentialsRefreshMs);
  }

  async request(request: TransportRequest): Promise<unknown> {
    const timeoutMs = request.timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const endMs = this.#clock.monotonicMs() + timeoutMs;
    const scope = this.#deadline(request, timeoutMs);
    const attempt: Attempt = {
      method: request.method,
      path: request.path,
      url: this.#url(request),
      body: request.body === undefined ? null : JSON.stringify(request.body),
      contentType: request.contentType,
      signal: scope.signal,
      beforeSend: request.beforeSend,
    };
    const rule = {
      idempotent: isIdempotent(request),
      maxRetries: request.maxRetries ?? DEFAULT_MAX_RETRIES,
    };
    const attempts: Attempts = { throttled: 0, reauthenticated: false, reconnected: false };
    try {
      for (;;) {
        try {
          return await this.#exchange(attempt);
        } catch (thrown) {
          const error = this.#explain(thrown, attempt);
          const waitMs =
            error instanceof ApiError ? nextAttemptMs(error, rule, attempts) : undefined;
          // An answer that asks for more time than is left is the caller's to obey.
          if (waitMs === undefined || this.#clock.monotonicMs() + waitMs >= endMs) throw error;
          await sleep(this.#clock, waitMs, scope.signal);
        }
      }
    } finally {
      scope.dispose();
    }
  }

  async *stream(request: StreamRequest): AsyncGenerator {
    const scope = scopeOf(request.signal);
    const attempt: Attempt = {
      method: 'GET',
      path: request.path,
      url: this.#url(request),
      body: null,
      contentType: undefined,
      signal: scope.signal,
      beforeSend: undefined,
    };
    try {
      const answer = await this.#openStream(attempt, scope, request.idleTimeoutMs);
      yield* this.#lines(answer.body, attempt, scope, request.idleTimeoutMs);
    } catch (thrown) {
      throw this.#explain(thrown, attempt);
    } finally {
      scope.dispose();
      // Also when the consumer left early: the connection must not go back into the pool half read.
      scope.abort(new Error('the stream was left'));
    }
  }

  async close(): Promise<void> {
    await this.#connections.close();
  }

  async #exchange(attempt: Attempt): Promise<unknown> {
    const answer = await this.#send(attempt);
    const text = await answer.body.text();
    if (text === '') return undefined;
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw noAnswer(attempt, 'InvalidAnswer', 'the answer is not JSON', cause);
    }
  }

  async #openStream(
    attempt: Attempt,
    scope: Scope,
    idleTimeoutMs: number,
  ): Promise<Dispatcher.ResponseData> {
    const open = async (): Promise<Dispatcher.ResponseData> => {
      const disarm = this.#watchdog(attempt, scope, Math.min(idleTimeoutMs, DEFAULT_TIMEOUT_MS));
      try {
        return await this.#send(attempt);
      } finally {
        disarm();
      }
    };
    try {
      return await open();
    } catch (thrown) {
      if (!(thrown instanceof ApiError) || thrown.status !== 401) throw thrown;
      this.#credentials.invalidate();
      return await open();
    }
  }

  async *#lines(
    body: AsyncIterable<Buffer>,
    attempt: Attempt,
    scope: Scope,
    idleTimeoutMs: number,
  ): AsyncGenerator {
    const lines = new JsonLines();
    const chunks = body[Symbol.asyncIterator]();
    for (;;) {
      // Armed only while we wait for the server: a slow consumer is no silence.
      const disarm = this.#watchdog(attempt, scope, idleTimeoutMs);
      const next = await chunks.next().finally(disarm);
      if (next.done === true) break;
      yield* lines.push(next.value);
    }
    if (lines.hasRest) {
      throw noAnswer(attempt, 'ConnectionReset', 'the stream ended in the middle of an object');
    }
  }

  /** An answer with a good status, its body unread. */
  async #send(attempt: Attempt): Promise<Dispatcher.ResponseData> {
    const startMs = this.#clock.monotonicMs();
    let status = 0;
    try {
      const credentials = await this.#credentials.read();
      const answer = await guarded(
        this.#connections.dispatcherFor(credentials),
        attempt.beforeSend,
      ).request({
        origin: this.#origin,
        path: attempt.url,
        method: attempt.method,
        headers: this.#headers(attempt, credentials.headers),
        body: attempt.body,
        signal: attempt.signal,
      });
      status = answer.statusCode;
      for (const warning of warningsOf(answer)) this.#options.warningHook?.(attempt.path, warning);
      if (status >= 200 && status < 300) return answer;
      throw await refusal(attempt, answer);
    } finally {
      this.#options.metricsHook?.({
        method: attempt.method,
        path: attempt.path,
        status,
        durationMs: this.#clock.monotonicMs() - startMs,
      });
    }
  }

  #headers(
    attempt: Attempt,
    authentication: Readonly<Record<string, string>>,
  ): Record<string, string> {
    const headers: Record<string, string> = {
      accept: 'application/json',
      'user-agent': this.#options.userAgent ?? 'kata-operator',
      ...authentication,
    };
    if (attempt.body !== null) headers['content-type'] = attempt.contentType ?? 'application/json';
    return headers;
  }

  #url(request: { path: string; query?: Query | undefined }): string {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) query.set(name, String(value));
    }
    const text = query.toString();
    return `${this.#prefix}${request.path}${text === '' ? '' : `?${text}`}`;
  }

  #deadline(request: TransportRequest, timeoutMs: number): Scope {
    return scopeOf(request.signal, {
      clock: this.#clock,
      afterMs: timeoutMs,
      timeout: () => noAnswer(request, 'Timeout', `no answer within ${timeoutMs} ms`),
    });
  }

  #watchdog(attempt: Attempt, scope: Scope, afterMs: number): () => void {
    return this.#clock.setTimer(afterMs, () => {
      scope.abort(noAnswer(attempt, 'IdleTimeout', `nothing was heard for ${afterMs} ms`));
    });
  }

  /** Says what a failure was, and draws the consequences for credentials and connections. */
  #explain(thrown: unknown, attempt: Attempt): Error {
    const error = explain(thrown, attempt);
    if (!(error instanceof ApiError)) return error;
    if (error.status === 401 || error.reason === 'ConnectionFailed') this.#credentials.invalidate();
    // Kept sockets may all be dead (the server moved, a firewall forgot us): do not wait once for each.
    if (error.reason === 'Timeout' || error.reason === 'IdleTimeout') this.#connections.retire();
    return error;
  }
}

function isIdempotent(request: TransportRequest): boolean {
  if (request.method === 'POST') return false;
  return request.method !== 'PATCH' || request.contentType !== 'application/json-patch+json';
}
