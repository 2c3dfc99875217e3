/**
 * What people and programs read: one line per step as it ends, then the result.
 *
 * With `json` the result is the only line on standard output; the steps go to standard error.
 */
import type { NodeResult } from '../../crds/nodeResult.ts';
import type { KataError } from '../../errors.ts';
import type { FileDifference } from '../stages/verifyFiles.ts';
import type { StepObserver } from '../transaction/runner.ts';

export interface Output {
  out(text: string): void;
  err(text: string): void;
}

const WORDS = {
  changed: 'changed',
  unchanged: 'ok',
  failed: 'FAILED',
  undone: 'taken back',
  undoFailed: 'COULD NOT BE TAKEN BACK',
} as const;

export class Printer {
  readonly #output: Output;
  readonly #format: 'json' | 'text';

  constructor(output: Output, format: 'json' | 'text') {
    this.#output = output;
    this.#format = format;
  }

  readonly step: StepObserver = (name, event, ms, error) => {
    const cause = error === undefined ? '' : `: ${error.message}`;
    const line = `${name}: ${WORDS[event]} (${ms} ms)${cause}\n`;
    if (this.#format === 'json') this.#output.err(line);
    else this.#output.out(line);
  };

  result(command: string, result: NodeResult): void {
    if (this.#format === 'json') {
      this.#output.out(`${JSON.stringify(result)}\n`);
      return;
    }
    const { outcome, error, handlers, skippedHandlers, durationMs } = result;
    this.#output.out(`${command}: ${outcome} in ${durationMs} ms\n`);
    if (handlers.length > 0) this.#output.out(`handlers: ${handlers.join(', ')}\n`);
    if (skippedHandlers !== undefined)
      this.#output.out(`left out: ${skippedHandlers.join(', ')}\n`);
    if (error !== undefined)
      this.#output.out(`${error.step}/${error.reason}: ${error.message}\nNext: ${error.remedy}\n`);
  }

  /** For people; programs find them in the result. */
  differences(found: readonly FileDifference[]): void {
    if (this.#format === 'json') return;
    for (const { digest, path, what } of found) this.#output.out(`${digest}/${path}: ${what}\n`);
  }

  /** Anything else: an object for programs, lines for people. */
  report(value: unknown, lines: readonly string[]): void {
    this.#output.out(
      this.#format === 'json' ? `${JSON.stringify(value)}\n` : `${lines.join('\n')}\n`,
    );
  }

  problem(error: KataError): void {
    this.#output.err(`kata-node: ${error.reason}: ${error.message}\nNext: ${error.remedy}\n`);
  }
}
