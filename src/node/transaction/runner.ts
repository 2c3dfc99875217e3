/**
 * Runs the steps of a transaction: check, apply, verify; when one fails, takes back what was applied, in
 * reverse order. A run that goes on after an interrupted one takes back what that one had begun as well.
 *
 * Owns the order and the bookkeeping. It knows nothing of what the steps do, and never repeats one:
 * trying again is a decision of whoever started it.
 */
import type { StepReport } from '../../crds/nodeResult.ts';
import { KataError, toKataError, type ErrorCode } from '../../errors.ts';
import type { Journal, RecordedStep } from './journal.ts';
import type { Step } from './step.ts';

export interface TransactionReport {
  readonly steps: readonly StepReport[];
  readonly bytesWritten: number;
  readonly engineRestarts: number;
  readonly outageMs?: number;
  readonly failure?: TransactionFailure;
}

export interface TransactionFailure {
  readonly step: string;
  readonly error: KataError;
  /** Steps whose apply had completed before. */
  readonly applied: readonly string[];
  /** Set when something could not be taken back. */
  readonly undoError?: KataError;
  /** False when what was applied stays on purpose. */
  readonly undone: boolean;
}

/** What happened to a step, as it happens. */
export type StepObserver = (
  step: string,
  event: 'changed' | 'unchanged' | 'failed' | 'undone' | 'undoFailed',
  ms: number,
  error?: KataError,
) => void;

export interface RunOptions {
  readonly journal: Pick<Journal, 'intended' | 'applied' | 'undone' | 'failing'>;
  readonly observe: StepObserver;
  readonly signal: AbortSignal;
  /** What an interrupted run of the same transaction has begun. */
  readonly recorded?: readonly RecordedStep[];
}

// Everything is in place and a person has to go on from there: taking it back would undo their work.
const KEEPS_WHAT_WAS_APPLIED: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'KATA_E_AWAITING_RESTART',
]);

/** Longest time that taking back may last; it goes on when the run itself is aborted. */
export const UNDO_TIMEOUT_MS = 5 * 60_000;

/** Never throws for what a step does. */
export async function runTransaction(
  steps: readonly Step[],
  options: RunOptions,
): Promise<TransactionReport> {
  const run = new Run(steps, options);
  for (const step of steps) {
    const error = await run.step(step);
    if (error !== undefined) return run.fail(step, error);
  }
  return run.report();
}

class Run {
  readonly #steps: readonly Step[];
  readonly #options: RunOptions;
  readonly #reports: StepReport[] = [];
  readonly #begun = new Map<string, RecordedStep>();
  readonly #applied = new Set<string>();
  #bytesWritten = 0;
  #engineRestarts = 0;
  #outageMs: number | undefined;

  constructor(steps: readonly Step[], options: RunOptions) {
    this.#steps = steps;
    this.#options = options;
    for (const step of options.recorded ?? []) {
      if (step.state === 'undone') continue;
      this.#begun.set(step.name, step);
      if (step.state === 'applied') this.#applied.add(step.name);
    }
  }

  async step(step: Step): Promise<KataError | undefined> {
    const { signal, observe } = this.#options;
    const startedAt = performance.now();
    let changed = false;
    let error: KataError | undefined;
    try {
      signal.throwIfAborted();
      if (await step.check(signal)) {
        // Begun by a run that could not tell how it went, and found done.
        if (this.#begun.has(step.name)) this.#applied.add(step.name);
      } else {
        changed = true;
        await this.#apply(step);
      }
      await step.verify(signal);
    } catch (thrown) {
      error = narrow(thrown, signal, step.name);
    }
    const ms = Math.round(performance.now() - startedAt);
    this.#reports.push({ name: step.name, ms, changed });
    observe(
      step.name,
      error !== undefined ? 'failed' : changed ? 'changed' : 'unchanged',
      ms,
      error,
    );
    return error;
  }

  async fail(step: Step, error: KataError): Promise<TransactionReport> {
    const keeps = KEEPS_WHAT_WAS_APPLIED.has(error.code);
    const undoError = keeps ? undefined : await this.#undo(step.name, error);
    const failure = {
      step: step.name,
      error,
      applied: this.#steps.map(({ name }) => name).filter((name) => this.#applied.has(name)),
      undone: !keeps,
      ...(undoError === undefined ? {} : { undoError }),
    };
    return { ...this.report(), failure };
  }

  report(): TransactionReport {
    return {
      steps: this.#reports,
      bytesWritten: this.#bytesWritten,
      engineRestarts: this.#engineRestarts,
      ...(this.#outageMs === undefined ? {} : { outageMs: this.#outageMs }),
    };
  }

  async #apply(step: Step): Promise<void> {
    const { journal, signal } = this.#options;
    // The host as it was before the first of the two runs is what undo must bring back.
    if (!this.#begun.has(step.name)) {
      const intent = await step.intent?.(signal);
      await journal.intended(step.name, intent);
      this.#begun.set(step.name, { name: step.name, state: 'intended', intent });
    }
    const effect = await step.apply(signal);
    await journal.applied(step.name);
    this.#applied.add(step.name);
    this.#bytesWritten += effect.bytesWritten ?? 0;
    this.#engineRestarts += effect.engineRestarts ?? 0;
    if (effect.outageMs !== undefined) this.#outageMs = (this.#outageMs ?? 0) + effect.outageMs;
  }

  async #undo(step: string, error: KataError): Promise<KataError | undefined> {
    // From here on there is only the way back, also for the next run when this one is interrupted.
    if (this.#begun.size > 0)
      await this.#options.journal.failing(step, error).catch(() => undefined);
    return takeBack(this.#steps, [...this.#begun.values()], this.#options);
  }
}

/**
 * Undoes what was begun, last first, each step with the intent that was recorded for it. Ends at a step that cannot
 * be undone and returns its error: what came before it is what the rest of that step still stands on.
 */
export async function takeBack(
  steps: readonly Step[],
  begun: readonly RecordedStep[],
  { journal, observe }: Pick<RunOptions, 'journal' | 'observe'>,
): Promise<KataError | undefined> {
  const signal = AbortSignal.timeout(UNDO_TIMEOUT_MS);
  for (const step of steps.toReversed()) {
    const recorded = begun.find(({ name }) => name === step.name);
    if (recorded === undefined || recorded.state === 'undone') continue;
    const startedAt = performance.now();
    let error: KataError | undefined;
    try {
      await step.undo(signal, recorded.intent);
      // The host is as it was; that the journal cannot say so (a full disk) does not change it.
      await journal.undone(step.name).catch(() => undefined);
    } catch (thrown) {
      error = narrow(thrown, signal, `undo of ${step.name}`);
    }
    observe(
      step.name,
      error === undefined ? 'undone' : 'undoFailed',
      Math.round(performance.now() - startedAt),
      error,
    );
    if (error !== undefined) return error;
  }
  return undefined;
}

/** Once the signal is aborted, whatever is thrown is its consequence and says less than its reason. */
export function narrow(thrown: unknown, signal: AbortSignal, step: string): KataError {
  if (!signal.aborted) return toKataError(thrown);
  const reason: unknown = signal.reason;
  if (reason instanceof KataError) return reason;
  if (reason instanceof Error && reason.name === 'TimeoutError')
    return new KataError('KATA_E_DEADLINE', { step }, { cause: thrown });
  return new KataError('KATA_E_INTERRUPTED', { step }, { cause: thrown });
}
