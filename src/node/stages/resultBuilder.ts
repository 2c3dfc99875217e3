/**
 * Collects what a stage did, in order, and makes the result of it.
 *
 * Owns the shape of a result and the meaning of outcomes. It decides nothing about the host.
 */
import {
  RESULT_VERSION,
  type NodeFacts,
  type NodeResult,
  type Outcome,
  type Stage,
  type StepReport,
} from '../../crds/nodeResult.ts';
import { toKataError, type ErrorCode, type KataError } from '../../errors.ts';
import { narrow, type TransactionReport } from '../transaction/runner.ts';
import type { StageContext } from './context.ts';

/** A named piece of work failed. */
export class StageFailure extends Error {
  readonly step: string;
  readonly error: KataError;

  constructor(step: string, error: KataError) {
    super(error.message, { cause: error });
    this.step = step;
    this.error = error;
  }
}

/** What was thrown outside any named work happened at `step`. */
export function asFailure(thrown: unknown, step: string): StageFailure {
  return thrown instanceof StageFailure ? thrown : new StageFailure(step, toKataError(thrown));
}

// The node itself cannot run Kata: nothing to repair in the plan, and no failure of the rollout.
const UNSUPPORTED: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'KATA_E_NO_KVM',
  'KATA_E_NOT_WRITABLE',
  'KATA_E_ENGINE_UNSUPPORTED',
  'KATA_E_NO_RUNTIME',
  'KATA_E_IMAGE_VOLUME',
]);

// Something of an earlier run is left on the host that only a person can put right.
const NEEDS_A_PERSON: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'KATA_E_RECOVERY',
  'KATA_E_ROLLBACK_FAILED',
]);

/** Of an error before the first write to the engine. */
export function outcomeBeforeWrites({ code }: KataError): Outcome {
  if (NEEDS_A_PERSON.has(code)) return 'failed';
  return UNSUPPORTED.has(code) ? 'unsupported' : 'refused';
}

export class ResultBuilder {
  readonly facts: NodeFacts = {};
  handlers: readonly string[] = [];
  skippedHandlers: readonly string[] = [];

  readonly #stage: Stage;
  readonly #context: Pick<StageContext, 'plan' | 'attempt' | 'signal' | 'observe'>;
  readonly #startedAt = performance.now();
  readonly #steps: StepReport[] = [];
  #bytesWritten = 0;
  #engineRestarts = 0;
  #outageMs: number | undefined;

  constructor(
    stage: Stage,
    context: Pick<StageContext, 'plan' | 'attempt' | 'signal' | 'observe'>,
  ) {
    this.#stage = stage;
    this.#context = context;
  }

  /** Runs a piece of work that is no step of a transaction, and records it like one. Throws StageFailure. */
  async timed<T>(
    name: string,
    work: () => Promise<T>,
    changed: (value: T) => boolean = () => false,
  ): Promise<T> {
    const { signal, observe } = this.#context;
    const startedAt = performance.now();
    const elapsed = () => Math.round(performance.now() - startedAt);
    try {
      signal.throwIfAborted();
      const value = await work();
      const ms = elapsed();
      this.#steps.push({ name, ms, changed: changed(value) });
      observe(name, changed(value) ? 'changed' : 'unchanged', ms);
      return value;
    } catch (thrown) {
      if (thrown instanceof StageFailure) throw thrown;
      const error = narrow(thrown, signal, name);
      const ms = elapsed();
      this.#steps.push({ name, ms, changed: false });
      observe(name, 'failed', ms, error);
      throw new StageFailure(name, error);
    }
  }

  add(report: TransactionReport): void {
    this.#steps.push(...report.steps);
    this.#bytesWritten += report.bytesWritten;
    this.#engineRestarts += report.engineRestarts;
    if (report.outageMs !== undefined) this.#outageMs = (this.#outageMs ?? 0) + report.outageMs;
  }

  /** Something that is done whatever comes of it, and that changes no result. */
  note(step: StepReport): void {
    this.#steps.push(step);
  }

  /** The result, with what was noted since it was made. */
  completed(result: NodeResult): NodeResult {
    const durationMs = Math.round(performance.now() - this.#startedAt);
    return { ...result, steps: [...this.#steps], durationMs };
  }

  end(
    outcome: Outcome,
    failure?: { readonly step: string; readonly error: KataError },
  ): NodeResult {
    const { plan, attempt } = this.#context;
    return {
      resultVersion: RESULT_VERSION,
      stage: this.#stage,
      deployment: plan.deployment,
      revision: plan.revision,
      attempt,
      outcome,
      ...(failure === undefined ? {} : { error: describeFailure(failure) }),
      steps: [...this.#steps],
      facts: this.facts,
      handlers: [...this.handlers],
      ...(this.skippedHandlers.length === 0 ? {} : { skippedHandlers: [...this.skippedHandlers] }),
      engineRestarts: this.#engineRestarts,
      ...(this.#outageMs === undefined ? {} : { outageMs: this.#outageMs }),
      bytesWritten: this.#bytesWritten,
      durationMs: Math.round(performance.now() - this.#startedAt),
    };
  }
}

function describeFailure({
  step,
  error,
}: {
  readonly step: string;
  readonly error: KataError;
}): NonNullable<NodeResult['error']> {
  return {
    code: error.code,
    step,
    reason: error.reason,
    message: error.message,
    remedy: error.remedy,
  };
}
