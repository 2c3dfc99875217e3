/** One row of the table of errors. Owns its form, none of the words. */

/** How the caller should treat an error: `retryable` may pass by itself, `terminal` needs a change by a person. */
export type Disposition = 'retryable' | 'terminal';

export interface ErrorEntry {
  /** UpperCamelCase, as Kubernetes reasons are: stable, shown in conditions, Events and results. */
  readonly reason: string;
  /** `{name}` is replaced by the parameter of that name. */
  readonly message: string;
  readonly remedy: string;
  readonly disposition: Disposition;
}

export const entry = (
  reason: string,
  disposition: Disposition,
  message: string,
  remedy: string,
): ErrorEntry => ({
  reason,
  disposition,
  message,
  remedy,
});
