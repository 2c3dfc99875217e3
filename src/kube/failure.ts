/**
 * What came of one attempt beside what was asked for: an answer that refuses, a warning, or no answer at all.
 * Pure but for reading the body.
 */
import type { Dispatcher } from 'undici';
import { abortReason } from './clock.ts';
import { ApiError, apiErrorFromAnswer } from './errors.ts';
import { Refused } from './guard.ts';
import type { Method } from './transport.ts';

/** One try of a request, as it goes out. */
export interface Attempt {
  readonly method: Method;
  readonly path: string;
  readonly url: string;
  readonly body: string | null;
  readonly contentType: string | undefined;
  readonly signal: AbortSignal;
  readonly beforeSend: (() => void) | undefined;
}

const MAX_ERROR_BODY_BYTES = 64 * 1024;

export async function refusal(
  attempt: Attempt,
  answer: Dispatcher.ResponseData,
): Promise<ApiError> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MAX_ERROR_BODY_BYTES) break;
  }
  const retryAfter = answer.headers['retry-after'];
  return apiErrorFromAnswer({
    method: attempt.method,
    path: attempt.path,
    status: answer.statusCode,
    body: Buffer.concat(chunks).toString('utf8'),
    retryAfter: typeof retryAfter === 'string' ? retryAfter : undefined,
  });
}

/** The texts of Warning headers, which look like `299 - "unknown field \"spec.typo\""`. */
export function warningsOf(answer: Dispatcher.ResponseData): string[] {
  const header = answer.headers['warning'];
  return [header ?? []].flat().flatMap((line) => {
    const quoted = /^\d{3} \S+ "((?:[^"\\]|\\.)*)"/.exec(line)?.[1];
    return quoted === undefined ? [] : [quoted.replaceAll(/\\(.)/g, '$1')];
  });
}

/** An error for an attempt without a usable answer. */
export function noAnswer(
  attempt: Pick<Attempt, 'method' | 'path'>,
  reason: string,
  message: string,
  cause?: unknown,
): ApiError {
  const { method, path } = attempt;
  return new ApiError({ method, path, status: 0, reason, message, cause });
}

const RESET_CODES = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);

/** What was thrown, as an ApiError; the reason of the signal when that was aborted. */
export function explain(thrown: unknown, attempt: Attempt): Error {
  if (thrown instanceof ApiError) return thrown;
  if (thrown instanceof Refused) return asError(thrown.by);
  if (attempt.signal.aborted) return abortReason(attempt.signal);
  const { code, message } = describe(thrown);
  return noAnswer(
    attempt,
    RESET_CODES.has(code) ? 'ConnectionReset' : 'ConnectionFailed',
    code === '' || message.includes(code) ? message : `${message} (${code})`,
    thrown,
  );
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

function describe(thrown: unknown): { code: string; message: string } {
  if (!(thrown instanceof Error)) return { code: '', message: String(thrown) };
  const code: unknown = 'code' in thrown ? thrown.code : undefined;
  return { code: typeof code === 'string' ? code : '', message: thrown.message };
}
