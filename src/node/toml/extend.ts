/**
 * Adding tables to a document without touching what is there: the text grows by a block, and the value must
 * grow by exactly the tables of that block, or nothing is done.
 *
 * Both sides are parsed strictly, so that what cannot be extended (inline tables, tables closed by dotted
 * keys, a handler that somebody else defined) is refused before a byte is written.
 */
import { isDeepStrictEqual } from 'node:util';
import { KataError } from '../../errors.ts';
import { lineAt } from '../host/text.ts';
import { findBlock, withBlock, withoutBlock } from './block.ts';
import { closedParent, conflict, takenPlace } from './conflict.ts';
import { isTable, isToml, parseToml, type TomlTable, type TomlValue } from './document.ts';
import { statementsOf } from './layout.ts';
import { type BlockTable, type BlockValue, renderTables } from './render.ts';

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
  assertOwnLines(text, before, owner, file);
  const taken = takenPlace(before, outside, tables);
  if (taken !== undefined) throw conflict(file, taken);
  const extended = withBlock(text, owner, [...comment, ...renderTables(tables)], file);
  if (!isToml(extended) || !isDeepStrictEqual(parseToml(extended, file), merge(before, tables)))
    throw conflict(file, closedParent(before, outside, tables));
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
  assertOwnLines(text, parseToml(outside, file), owner, file);
  return outside;
}

/**
 * Every value outside the block must be the same with and without it. With it the document may be invalid
 * (somebody wrote one of our tables a second time): taking the block out is then the cure, if it lies between two
 * statements and what follows is not a part of our last table.
 */
function assertOwnLines(text: string, before: TomlTable, owner: string, file: string): void {
  const block = findBlock(text, owner, file);
  if (block === undefined) return;
  const apart = statementsOf(text.slice(0, block.start)).every(({ end }) => end < block.start);
  const below = statementsOf(text.slice(block.end))[0];
  const ownHeader = below === undefined || below.kind !== 'key';
  if (apart && ownHeader && (!isToml(text) || contains(parseToml(text, file), before))) return;
  const line = lineAt(text, block.end + (below?.start ?? 0));
  throw new KataError('KATA_E_CONFIG_EDITED', {
    file,
    cause: ownHeader
      ? 'it is inside a value of the file'
      : `line ${line}: lines below the block belong to its last table; put them above it or under a header of their own`,
  });
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

function merge(before: TomlTable, tables: readonly BlockTable[]): TomlTable {
  return tables.reduce(
    (document, { path, entries }) => withEntries(document, path, entries),
    before,
  );
}

function withEntries(
  table: TomlTable | undefined,
  path: readonly string[],
  entries: BlockTable['entries'],
): TomlTable {
  // Without a prototype, as the parser makes them: no key is special.
  const copy = Object.assign(Object.create(null) as Record<string, TomlValue>, table);
  const [key, ...rest] = path;
  if (key === undefined) {
    for (const [name, value] of Object.entries(entries)) copy[name] = tomlValue(value);
  } else {
    const next = copy[key];
    copy[key] = withEntries(isTable(next) ? next : undefined, rest, entries);
  }
  return copy;
}

function tomlValue(value: BlockValue): TomlValue {
  if (typeof value === 'number') return BigInt(value);
  return typeof value === 'string' || typeof value === 'boolean' ? value : [...value];
}
