/**
 * The one error of the kube layer. Owns how an answer of the API server, or no answer, becomes an error.
 * A message is one short line: it must never hold the whole body, a header or a token.
 */

/** One reason among several, as the API server gives them in `Status.details.causes`. */
export interface StatusCause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

export interface ApiErrorInit {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly reason: string;
  readonly message: string;
  readonly retryAfterMs?: number | undefined;
  readonly causes?: readonly StatusCause[];
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

const MAX_MESSAGE_LENGTH = 500;
const MAX_CAUSES = 64;

export class ApiError extends Error {
  readonly method: string;
  readonly path: string;
  /** HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** Reason of the API server (`NotFound`, `Conflict`, …) or one of ours: `ConnectionFailed`, `ConnectionReset`, `Timeout`, `IdleTimeout`, `InvalidAnswer`, `NotLeader`. */
  readonly reason: string;
  /** How long the server asked to wait. */
  readonly retryAfterMs: number | undefined;
  /** True when the same request may succeed later with nobody changing anything. */
  readonly retryable: boolean;
  readonly causes: readonly StatusCause[];

  constructor(init: ApiErrorInit) {
    const what = init.status === 0 ? init.reason : `${init.status} ${init.reason}`;
    super(
      shorten(
        `${init.method} ${init.path}: ${what}${init.message === '' ? '' : `: ${init.message}`}`,
      ),
      init.cause === undefined ? undefined : { cause: init.cause },
    );
    this.name = 'ApiError';
    this.method = init.method;
    this.path = init.path;
    this.status = init.status;
    this.reason = init.reason;
    this.retryAfterMs = init.retryAfterMs;
    this.causes = init.causes ?? [];
    this.retryable = init.retryable ?? isRetryable(init.status, init.message);
  }
}

function isRetryable(status: number, message: string): boolean {
  // Server-side apply answers 500 for a field that the schema does not declare: repeating it cannot help.
  if (status === 500 && message.includes('not declared in schema')) return false;
  return status === 0 || status === 401 || status === 408 || status === 429 || status >= 500;
}

/** An error from an answer: `body` is a Status object, or anything else an intermediary sent. */
export function apiErrorFromAnswer(answer: {
  method: string;
  path: string;
  status: number;
  body: string;
  retryAfter?: string | undefined;
}): ApiError {
  const status = parseStatus(answer.body);
  return new ApiError({
    method: answer.method,
    path: answer.path,
    status: answer.status,
    reason: textOf(status, 'reason') ?? REASONS[answer.status] ?? 'Unknown',
    message: textOf(status, 'message') ?? answer.body,
    retryAfterMs: parseRetryAfter(answer.retryAfter) ?? retryAfterOf(status),
    causes: causesOf(status),
  });
}

/** An error from the Status object of an ERROR event inside a watch stream. */
export function apiErrorFromStatus(path: string, status: unknown): ApiError {
  const object = isRecord(status) ? status : {};
  const code = object['code'];
  return new ApiError({
    method: 'WATCH',
    path,
    status: typeof code === 'number' ? code : 500,
    reason: textOf(object, 'reason') ?? 'Unknown',
    message: textOf(object, 'message') ?? '',
    retryAfterMs: retryAfterOf(object),
    causes: causesOf(object),
  });
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  410: 'Gone',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

export function isNotFound(thrown: unknown): boolean {
  return thrown instanceof ApiError && thrown.status === 404;
}

/** The object changed, vanished or has another uid than the write was made for. */
export function isConflict(thrown: unknown): boolean {
  if (!(thrown instanceof ApiError)) return false;
  if (thrown.status === 409) return thrown.reason !== 'AlreadyExists';
  // An apply with the uid of an object that was made anew is "Invalid: field is immutable"; only where
  // no object bears the name is it a Conflict.
  return thrown.status === 422 && thrown.causes.some((cause) => cause.field === 'metadata.uid');
}

/** Paths of the fields that other managers own, as `.metadata.labels.example.com/name`. Empty for any other failure. */
export function conflictingFields(thrown: unknown): string[] {
  if (!(thrown instanceof ApiError) || thrown.status !== 409) return [];
  return thrown.causes
    .filter((cause) => cause.reason === 'FieldManagerConflict')
    .map((cause) => cause.field);
}

export function isAlreadyExists(thrown: unknown): boolean {
  return thrown instanceof ApiError && thrown.status === 409 && thrown.reason === 'AlreadyExists';
}

/** The resourceVersion or continue token is too old: list again. */
export function isExpired(thrown: unknown): boolean {
  return (
    thrown instanceof ApiError &&
    (thrown.status === 410 || thrown.reason === 'Expired' || thrown.reason === 'Gone')
  );
}

/** The write was refused on our side, before it was sent: the lease is not ours (any more). */
export function isNotLeader(thrown: unknown): boolean {
  return thrown instanceof ApiError && thrown.reason === 'NotLeader';
}

/** Milliseconds of a Retry-After header in seconds (the API server sends no dates). */
function parseRetryAfter(header: string | undefined): number | undefined {
  if (header === undefined || !/^\d{1,6}$/.test(header)) return undefined;
  return Number(header) * 1000;
}

function parseStatus(body: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(body);
    return isRecord(parsed) && parsed['kind'] === 'Status' ? parsed : undefined;
  } catch {
    // A proxy in between answers in HTML or text; that text is the message.
    return undefined;
  }
}

function retryAfterOf(status: Record<string, unknown> | undefined): number | undefined {
  const details = status?.['details'];
  const seconds = isRecord(details) ? details['retryAfterSeconds'] : undefined;
  return typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : undefined;
}

function causesOf(status: Record<string, unknown> | undefined): StatusCause[] {
  const details = status?.['details'];
  const causes = isRecord(details) ? details['causes'] : undefined;
  if (!Array.isArray(causes)) return [];
  return causes
    .filter(isRecord)
    .slice(0, MAX_CAUSES)
    .map((cause) => ({
      reason: textOf(cause, 'reason') ?? '',
      message: shorten(textOf(cause, 'message') ?? ''),
      field: textOf(cause, 'field') ?? '',
    }));
}

function textOf(object: Record<string, unknown> | undefined, key: string): string | undefined {
  const value = object?.[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function shorten(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length <= MAX_MESSAGE_LENGTH ? line : `${line.slice(0, MAX_MESSAGE_LENGTH - 1)}…`;
}
