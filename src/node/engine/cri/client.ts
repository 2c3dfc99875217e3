/**
 * The container runtime's answers over CRI (runtime.v1, field numbers from k8s.io/cri-api), by its Unix socket.
 *
 * One connection per call, never kept: the engine is expected to go away between two calls.
 * Every call has a deadline; an engine that does not answer is a CriUnavailable, never a hang.
 */
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { z } from 'zod';
import { causeOf } from '../../../errors.ts';
import { decodeMessage, encodeMessage, type MessageShape } from './wire.ts';

/** The engine did not answer: no socket, refused, deadline, or not a CRI service. The message says which. */
export class CriUnavailable extends Error {
  override readonly name = 'CriUnavailable';
  /** True when the engine answered that it has no CRI service at all: its CRI plugin did not load, and will not by itself. */
  readonly isUnimplemented: boolean;

  constructor(message: string, options: ErrorOptions & { isUnimplemented?: boolean } = {}) {
    super(message, options);
    this.isUnimplemented = options.isUnimplemented === true;
  }
}

export interface CriStatus {
  readonly runtimeReady: boolean;
  /** Why it is not ready, as the engine says it. */
  readonly notReadyCause: string;
  /** Names of the handlers, when the engine reports them there (containerd ≥ 2.0); the default handler is ''. */
  readonly handlers: readonly string[];
  /** Free-form JSON by topic (`config`), only of a verbose call. */
  readonly info: Readonly<Record<string, string>>;
}

export const CRI = 'runtime.v1.RuntimeService';
/** A node has a few hundred sandboxes, with a few kilobytes of text each. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

const VERSION_REQUEST: MessageShape = { 1: { name: 'version', type: 'string' } };
const VERSION_RESPONSE: MessageShape = {
  2: { name: 'runtimeName', type: 'string' },
  3: { name: 'runtimeVersion', type: 'string' },
};
const STATUS_REQUEST: MessageShape = { 1: { name: 'verbose', type: 'bool' } };
const CONDITION: MessageShape = {
  1: { name: 'type', type: 'string' },
  2: { name: 'status', type: 'bool' },
  3: { name: 'reason', type: 'string' },
  4: { name: 'message', type: 'string' },
};
const STATUS_RESPONSE: MessageShape = {
  1: {
    name: 'status',
    type: { message: { 1: { name: 'conditions', type: { message: CONDITION }, repeated: true } } },
  },
  2: { name: 'info', type: { map: 'string' } },
  3: {
    name: 'handlers',
    type: { message: { 1: { name: 'name', type: 'string' } } },
    repeated: true,
  },
};

const text = z.string().default('');
const versionResponse = z.object({ runtimeName: text, runtimeVersion: text });
const condition = z.object({
  type: text,
  status: z.boolean().default(false),
  reason: text,
  message: text,
});
const statusResponse = z.object({
  status: z.object({ conditions: z.array(condition) }).default({ conditions: [] }),
  info: z.record(z.string(), z.string()),
  handlers: z.array(z.object({ name: text })),
});

/** `socket` is where this process finds it. */
export async function criVersion(
  socket: string,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<{ name: string; version: string }> {
  const answer = versionResponse.parse(
    await callEngine(
      socket,
      `${CRI}/Version`,
      encodeMessage(VERSION_REQUEST, {}),
      VERSION_RESPONSE,
      { deadlineMs, signal },
    ),
  );
  return { name: answer.runtimeName, version: answer.runtimeVersion };
}

/** Status with `verbose`, so that `info` is filled. */
export async function criStatus(
  socket: string,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<CriStatus> {
  const request = encodeMessage(STATUS_REQUEST, { verbose: true });
  const answer = statusResponse.parse(
    await callEngine(socket, `${CRI}/Status`, request, STATUS_RESPONSE, { deadlineMs, signal }),
  );
  const ready = answer.status.conditions.find(({ type }) => type === 'RuntimeReady');
  return {
    runtimeReady: ready?.status === true,
    notReadyCause:
      ready === undefined
        ? 'it reports no RuntimeReady condition'
        : `${ready.reason} ${ready.message}`.trim(),
    handlers: answer.handlers.map(({ name }) => name),
    info: answer.info,
  };
}

export interface CallOptions {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** Header fields of the request. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** One unary call of a gRPC service on the socket. `method` is its full path, without the first slash. */
export function callEngine(
  socket: string,
  method: string,
  request: Buffer,
  response: MessageShape,
  { deadlineMs, signal, headers = {} }: CallOptions,
): Promise<unknown> {
  signal.throwIfAborted();
  // A subchannel shared between clients would carry its reconnect backoff (1 s and more) from one call to the next,
  // and Go's server refuses the path of the socket as an authority.
  const client = new Client(`unix:${socket}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.default_authority': 'localhost',
    'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
  });
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return new Promise<unknown>((resolve, reject) => {
    const running = client.makeUnaryRequest(
      `/${method}`,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => decodeMessage(response, bytes),
      request,
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error: ServiceError | null, message?: unknown) => {
        signal.removeEventListener('abort', cancel);
        if (error === null) resolve(message);
        else reject(signal.aborted ? (signal.reason as Error) : unavailable(error));
      },
    );
    const cancel = (): void => {
      running.cancel();
    };
    signal.addEventListener('abort', cancel, { once: true });
  }).finally(() => {
    client.close();
  });
}

function unavailable(error: ServiceError): CriUnavailable {
  const isUnimplemented = error.code === status.UNIMPLEMENTED;
  return new CriUnavailable(causeOf(error), { cause: error, isUnimplemented });
}
