/**
 * The one error of this project: an entry of the table with its parameters filled in.
 *
 * Whatever else is thrown is narrowed to it once, at the edge.
 */
import { ERRORS } from './errorTable.ts';
import type { Disposition } from './errorTable/entry.ts';

export type ErrorCode = keyof typeof ERRORS;

export type ErrorParameters = Readonly<Record<string, string | number>>;

/** An error of the table above. `message` names what and where, `remedy` what to do. */
export class KataError extends Error {
  readonly code: ErrorCode;
  readonly parameters: ErrorParameters;

  constructor(code: ErrorCode, parameters: ErrorParameters = {}, options?: { cause?: unknown }) {
    super(fill(ERRORS[code].message, parameters), options);
    this.name = 'KataError';
    this.code = code;
    this.parameters = parameters;
  }

  get reason(): string {
    return ERRORS[this.code].reason;
  }

  get remedy(): string {
    return fill(ERRORS[this.code].remedy, this.parameters);
  }

  get disposition(): Disposition {
    return ERRORS[this.code].disposition;
  }
}

/** What an unknown thrown value says, on one line, without a stack trace. */
export function causeOf(thrown: unknown): string {
  if (thrown instanceof Error) {
    const text = thrown.message === '' ? thrown.name : thrown.message;
    // undici and fetch hide the interesting part (ECONNREFUSED and the like) one level down.
    const inner =
      thrown.cause instanceof Error && !text.includes(thrown.cause.message)
        ? `: ${thrown.cause.message}`
        : '';
    return `${text}${inner}`.replaceAll(/\s*\n\s*/g, ' ');
  }
  return String(thrown);
}

/** Narrows what was thrown to the table, once, at the edge. */
export function toKataError(thrown: unknown): KataError {
  return thrown instanceof KataError
    ? thrown
    : new KataError('KATA_E_INTERNAL', { cause: causeOf(thrown) }, { cause: thrown });
}

function fill(template: string, parameters: ErrorParameters): string {
  return template.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(parameters[name] ?? ''));
}
