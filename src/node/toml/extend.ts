/**
 * Adding tables to a document without touching what is there: the text grows by a block, and the value must
 * grow by exactly the tables of that block, or nothing is done.
 *
 * Both sides are parsed strictly, so that what cannot be extended (inline tables, tables closed by dotted
 * keys, a handler that somebody else defined) is refused before a byte is written.
 */
import { isDeepStrictEqual } from 'node:util';
import { KataError } from '../../errors.ts';
import { withBlock, withoutBlock } from './block.ts';
import { isTable, isToml, parseToml, type TomlTable, type TomlValue, valueAt } from './document.ts';
import { type BlockTable, type BlockValue, renderPath, renderTables } from './render.ts';

/** The text with the block of `owner` holding exactly `tables`. Throws KATA_E_ENGINE_CONFIG_CONFLICT, _INVALID or KATA_E_CONFIG_EDITED. */
export function extendDocument(
  text: string,
  owner: string,
  tables: readonly BlockTable[],
  comment: readonly string[],
  file: string,
): string {
  const outside = withoutBlock(text, owner, file);
  const before = parseToml(outside, file);
  assertOwnLines(text, outside, before, file);
  for (const table of tables) assertFree(before, outside, table, file);
  const extended = withBlock(text, owner, [...comment, ...renderTables(tables)], file);
  if (!isToml(extended) || !isDeepStrictEqual(parseToml(extended, file), merge(before, tables))) {
    throw conflict(
      file,
      'the tables of the Kata handlers cannot be added without changing what is there',
    );
  }
  return extended;
}

/**
 * The text without the block of `owner`: its value must shrink by what the block holds and nothing else
 * (a bare key written below the block belongs to the block's last table: it would move to another).
 */
export function reduceDocument(
  text: string,
  owner: string,
  file: string,
  replacement = '',
): string {
  const outside = withoutBlock(text, owner, file, replacement);
  assertOwnLines(text, outside, parseToml(outside, file), file);
  return outside;
}

/** Every value outside the block must be the same with and without it. */
function assertOwnLines(text: string, outside: string, before: TomlTable, file: string): void {
  if (text !== outside && !contains(parseToml(text, file), before)) {
    throw new KataError('KATA_E_CONFIG_EDITED', {
      file,
      cause:
        'lines below the block belong to its last table; put them above it or under a header of their own',
    });
  }
}

/** True when every value of `part` is in `whole`. */
export function contains(whole: TomlValue | undefined, part: TomlValue): boolean {
  if (!isTable(part)) return isDeepStrictEqual(whole, part);
  return (
    isTable(whole) &&
    Object.entries(part).every(
      ([key, value]) => Object.hasOwn(whole, key) && contains(whole[key], value),
    )
  );
}

function assertFree(before: TomlTable, outside: string, table: BlockTable, file: string): void {
  const taken =
    table.path.length === 0
      ? Object.keys(table.entries).find((key) => Object.hasOwn(before, key))
      : undefined;
  if (taken !== undefined) throw conflict(file, `${taken} is already set`);
  if (table.path.length > 0 && valueAt(before, table.path) !== undefined) {
    throw conflict(
      file,
      `[${renderPath(table.path)}] is already defined outside the block of kata-operator; remove it`,
    );
  }
  for (let depth = 1; depth < table.path.length; depth += 1) {
    const parent = table.path.slice(0, depth);
    const probe = `${outside}\n[${renderPath([...parent, 'kata-operator-probe'])}]\n`;
    if (!isToml(probe)) {
      throw conflict(
        file,
        `${renderPath(parent)} cannot be extended by a table of its own; write it as [${renderPath(parent)}] and not inline`,
      );
    }
  }
}

function merge(before: TomlTable, tables: readonly BlockTable[]): TomlTable {
  const result = cloneTables(before);
  for (const { path, entries } of tables) {
    let target = result;
    for (const key of path) {
      const next = Object.hasOwn(target, key) ? target[key] : undefined;
      const table = isTable(next) ? next : emptyTable();
      target[key] = table;
      target = table;
    }
    for (const [key, value] of Object.entries(entries)) target[key] = tomlValue(value);
  }
  return result;
}

/** Copies the tables; leaves (dates, lists) are shared, nobody changes them. */
function cloneTables(table: TomlTable): TomlTable {
  const copy = emptyTable();
  for (const [key, value] of Object.entries(table))
    copy[key] = isTable(value) ? cloneTables(value) : value;
  return copy;
}

/** Without a prototype, as the parser makes them: no key is special. */
function emptyTable(): TomlTable {
  return Object.create(null) as TomlTable;
}

function tomlValue(value: BlockValue): TomlValue {
  if (typeof value === 'number') return BigInt(value);
  return typeof value === 'string' || typeof value === 'boolean' ? value : [...value];
}

function conflict(file: string, cause: string): KataError {
  return new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', { file, cause });
}
