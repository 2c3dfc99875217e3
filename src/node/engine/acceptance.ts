/**
 * What an engine's own reading of a candidate must show before the candidate is put in place: our handlers as they
 * were written, and none of those that are given up.
 *
 * Pure, and the same for every engine. Each driver asks its engine itself, and compares the rest of its settings.
 */
import { KataError } from '../../errors.ts';
import type { TomlTable, TomlValue } from '../toml/document.ts';
import { contains } from '../toml/extend.ts';
import { describeEngine, type Engine } from './engine.ts';

/** Throws KATA_E_ENGINE_REJECTED_CONFIG when one of `wanted` (tables by handler) is not among the runtimes that were read. */
export function assertTakenOver(
  engine: Engine,
  runtimes: TomlTable,
  wanted: TomlTable,
  holds: (whole: TomlValue | undefined, part: TomlValue) => boolean = contains,
): void {
  const wrong = Object.entries(wanted).find(([handler, table]) => !holds(runtimes[handler], table));
  if (wrong !== undefined)
    throw rejected(engine, `it does not take over handler ${wrong[0]} as it was written`);
}

/** Throws KATA_E_ENGINE_REJECTED_CONFIG when one of the handlers is among the runtimes that were read. */
export function assertGivenUp(
  engine: Engine,
  runtimes: TomlTable,
  handlers: readonly string[],
): void {
  const left = handlers.find((handler) => Object.hasOwn(runtimes, handler));
  if (left !== undefined)
    throw rejected(engine, `handler ${left} is still defined by another file`);
}

/** The engine, or what it makes of a candidate, speaks against it. */
export function rejected(engine: Engine, cause: string): KataError {
  return new KataError('KATA_E_ENGINE_REJECTED_CONFIG', {
    engine: describeEngine(engine),
    cause,
    file: engine.dropInDirectory ?? engine.configPath,
  });
}
