/**
 * Whether two dumps of containerd's configuration say the same but for our handlers: an edit of ours must never
 * change another setting, whatever containerd makes of it.
 *
 * Pure: dumps in, an error out.
 */
import { isDeepStrictEqual } from 'node:util';
import { isTable, tableAt, type TomlTable, type TomlValue } from '../../toml/document.ts';
import { renderPath } from '../../toml/render.ts';
import { rejected } from '../acceptance.ts';
import type { Engine } from '../engine.ts';
import { schemaOf } from './schema.ts';

/** `paths` are the files that the dumps were made of. Throws KATA_E_ENGINE_REJECTED_CONFIG with the first setting that differs. */
export function assertRestUnchanged(
  engine: Engine,
  before: TomlTable,
  after: TomlTable,
  handlers: readonly string[],
  paths: readonly string[],
): void {
  const [left, right] = [before, after].map((dump) => withoutHandlers(dump, handlers, paths));
  if (isDeepStrictEqual(left, right)) return;
  const where = firstDifference(left, right, []);
  throw rejected(engine, `besides the Kata handlers it would change ${renderPath(where)}`);
}

/** A dump without what may differ: our handlers, the name of the file itself, and the version that it was migrated to. */
function withoutHandlers(
  dump: TomlTable,
  handlers: readonly string[],
  paths: readonly string[],
): TomlTable {
  const copy = structuredClone(dump);
  const { runtimes, platforms } = schemaOf(Number(copy['version']));
  for (const path of [runtimes, ...(platforms === undefined ? [] : [platforms])]) {
    const table = tableAt(copy, path);
    if (table === undefined) continue;
    for (const handler of handlers) Reflect.deleteProperty(table, handler);
    if (path === platforms && Object.keys(table).length === 0)
      Reflect.deleteProperty(tableAt(copy, path.slice(0, -1)) ?? {}, path.at(-1) ?? '');
  }
  const { imports } = copy;
  if (!Array.isArray(imports)) return copy;
  return {
    ...copy,
    imports: imports.filter((file) => typeof file !== 'string' || !paths.includes(file)),
  };
}

function firstDifference(
  left: TomlValue | undefined,
  right: TomlValue | undefined,
  path: string[],
): string[] {
  if (!isTable(left) || !isTable(right)) return path;
  const key = [...Object.keys(left), ...Object.keys(right)].find(
    (name) => !isDeepStrictEqual(left[name], right[name]),
  );
  return key === undefined ? path : firstDifference(left[key], right[key], [...path, key]);
}
