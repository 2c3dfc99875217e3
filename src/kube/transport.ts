/**
 * HTTP to one API server: JSON in, JSON out, nothing typed in between, so that the bytes on the wire are
 * the ones that were built. This is the contract; httpTransport.ts keeps it.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import type { Clock } from './clock.ts';
import { HttpTransport } from './httpTransport.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface TransportRequest {
  readonly method: Method;
  /** Path with its segments already encoded, without query. */
  readonly path: string;
  readonly query?: Query | undefined;
  readonly body?: unknown;
  readonly contentType?: string | undefined;
  /** For the whole request, repetitions and waits included. Default 30 s. */
  readonly timeoutMs?: number | undefined;
  /** Repetitions after 429 or 503. Default 3. */
  readonly maxRetries?: number | undefined;
  readonly signal: AbortSignal;
  /** Called right before each attempt is written to the socket. What it throws is thrown by `request`, and nothing is sent. */
  readonly beforeSend?: (() => void) | undefined;
}

export interface StreamRequest {
  readonly path: string;
  readonly query?: Query | undefined;
  readonly signal: AbortSignal;
  /** The stream is torn down when it is silent for so long. */
  readonly idleTimeoutMs: number;
}

/** One attempt, for metrics. `status` is 0 when there was no answer. */
export interface AttemptRecord {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly durationMs: number;
}

export interface Transport {
  /** The parsed answer. Throws ApiError, or the reason of the signal. */
  request(request: TransportRequest): Promise<unknown>;
  /** Parsed JSON lines until the server ends the stream. Throws ApiError, or the reason of the signal. */
  stream(request: StreamRequest): AsyncIterable<unknown>;
  /** Ends what is under way. */
  close(): Promise<void>;
}

export interface TransportOptions {
  readonly clock?: Clock;
  readonly timeoutMs?: number;
  /** How old token and CA may get before their files are read again. Default 10 s. */
  readonly credentialsRefreshMs?: number;
  readonly userAgent?: string;
  readonly metricsHook?: (attempt: AttemptRecord) => void;
  /** What the API server says aside of its answer: a field that it does not know and drops, a deprecated version. */
  readonly warningHook?: (path: string, warning: string) => void;
}

export function createTransport(kubeConfig: KubeConfig, options: TransportOptions = {}): Transport {
  return new HttpTransport(kubeConfig, options);
}
