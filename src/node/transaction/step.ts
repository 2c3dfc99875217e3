/**
 * The unit of work on a node. A transaction is a list of steps; the runner checks, applies and verifies
 * them in order and, when one fails, undoes what was applied in reverse order.
 *
 * A step must be idempotent: after a crash at any point, `check` tells from the host alone (never from
 * memory) whether there is something left to do, and `undo` of a step that did nothing does nothing. `undo`
 * may be called by another process than `apply` was: what it must know is in the intent, or on the host.
 */
export interface Step {
  /** CamelCase noun phrase, shown to people: `EngineConfiguration`, `EngineRestart`. */
  readonly name: string;
  /** True when the host is already as wanted; then neither apply nor undo is called. Never writes. */
  check(signal: AbortSignal): Promise<boolean>;
  /** What undo must know of the host as it is now, as JSON. On disk in the journal before apply is called. */
  intent?(signal: AbortSignal): Promise<unknown>;
  /** Makes it so. Returns bytes written, when that is worth counting. Throws KataError. */
  apply(signal: AbortSignal): Promise<StepEffect>;
  /** Throws KataError when the host is not as wanted. Runs also when `check` was satisfied. */
  verify(signal: AbortSignal): Promise<void>;
  /** Brings back what was there before `apply`, byte for byte. `intent` is what was recorded then. */
  undo(signal: AbortSignal, intent?: unknown): Promise<void>;
}

export interface StepEffect {
  readonly bytesWritten?: number;
  readonly engineRestarts?: number;
  /** Milliseconds during which the engine did not answer. */
  readonly outageMs?: number;
}
