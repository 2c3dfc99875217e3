/**
 * A last check at the instant a request is written to its socket. A request can stand in a pool, wait for
 * a connection or outlive a stalled event loop; a check made before that says nothing about now.
 */
import type { Dispatcher } from 'undici';

/** Carries what a check threw through the pool, where it would pass for a failed connection. */
export class Refused extends Error {
  readonly by: unknown;

  constructor(by: unknown) {
    super('refused before it was sent');
    this.by = by;
  }
}

/** The same pool, for one request. When `check` throws, the request ends with Refused before a byte is written. */
export function guarded(dispatcher: Dispatcher, check: (() => void) | undefined): Dispatcher {
  if (check === undefined) return dispatcher;
  return dispatcher.compose(
    (dispatch) => (options, handler) => dispatch(options, new GuardedHandler(handler, check)),
  );
}

class GuardedHandler implements Dispatcher.DispatchHandler {
  readonly #inner: Dispatcher.DispatchHandler;
  readonly #check: () => void;

  constructor(inner: Dispatcher.DispatchHandler, check: () => void) {
    this.#inner = inner;
    this.#check = check;
  }

  onRequestStart(controller: Dispatcher.DispatchController, context: unknown): void {
    // Called for every attempt, after the connection stands and before the first byte.
    try {
      this.#check();
    } catch (thrown) {
      throw new Refused(thrown);
    }
    this.#inner.onRequestStart?.(controller, context);
  }

  onResponseStart(
    ...args: Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseStart']>>
  ): void {
    this.#inner.onResponseStart?.(...args);
  }

  onResponseData(
    ...args: Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseData']>>
  ): void {
    this.#inner.onResponseData?.(...args);
  }

  onResponseEnd(
    ...args: Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseEnd']>>
  ): void {
    this.#inner.onResponseEnd?.(...args);
  }

  onResponseError(
    ...args: Parameters<NonNullable<Dispatcher.DispatchHandler['onResponseError']>>
  ): void {
    this.#inner.onResponseError?.(...args);
  }
}
