/**
 * Why a document cannot take tables of ours, and on which line: called when it was refused, or to refuse it.
 *
 * Only explains. Whether a document can be extended is decided by the strict parser on the result.
 */
import { KataError } from '../../errors.ts';
import { lineAt } from '../host/text.ts';
import { isTable, type TomlTable, valueAt } from './document.ts';
import { definitionOf, type Statement, statementsOf, valueAbove } from './layout.ts';
import { type BlockTable, renderPath } from './render.ts';

/** What is already defined where ours would go. Undefined when the place is free. */
export function takenPlace(
  before: TomlTable,
  outside: string,
  tables: readonly BlockTable[],
): string | undefined {
  for (const { path, entries } of tables) {
    const names = path.length === 0 ? Object.keys(entries).map((key) => [key]) : [path];
    const taken = names.find((name) => valueAt(before, name) !== undefined);
    if (taken === undefined) continue;
    const where = definitionOf(outside, taken) ?? valueAbove(outside, taken);
    return path.length === 0
      ? `${line(outside, where)}${renderPath(taken)} is already set`
      : `${line(outside, where)}[${renderPath(taken)}] is already defined outside the block of kata-operator; remove it`;
  }
  return undefined;
}

/** What stands in the way of a table: something of another type, or a table that is closed. */
export function closedParent(
  before: TomlTable,
  outside: string,
  tables: readonly BlockTable[],
): string {
  for (const { path } of tables) {
    const closed = valueAbove(outside, path);
    if (closed === undefined) continue;
    const parent = renderPath(closed.path);
    const at = line(outside, closed);
    if (closed.kind === 'arrayOfTables' || Array.isArray(valueAt(before, closed.path)))
      return `${at}${parent} is an array, and a table of this name is needed`;
    return isTable(valueAt(before, closed.path))
      ? `${at}${parent} cannot be extended by a table of its own; write it as [${parent}] and not inline`
      : `${at}${parent} is a value, and a table of this name is needed`;
  }
  return 'the tables of the Kata handlers cannot be added without changing what is there';
}

/** Throws KATA_E_ENGINE_CONFIG_CONFLICT when a key is written with an escape: parsers of old engines take it literally. */
export function assertPlainKeys(text: string, file: string): void {
  const escaped = statementsOf(text).find(({ isEscaped }) => isEscaped);
  if (escaped !== undefined)
    throw conflict(
      file,
      `${line(text, escaped)}this engine does not read the escape in the key ${renderPath(escaped.path)}; write the key without it`,
    );
}

export function conflict(file: string, cause: string): KataError {
  return new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', { file, cause });
}

function line(text: string, statement: Statement | undefined): string {
  return statement === undefined ? '' : `line ${lineAt(text, statement.start)}: `;
}
