/**
 * The files that config.toml imports, checked before we write: containerd loads them after it, so they can
 * undo what we add, and one that is missing keeps the daemon from starting although its `config dump` accepts it.
 */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize } from 'node:path';
import { KataError } from '../../../errors.ts';
import type { Host } from '../../host/host.ts';
import { isMissing } from '../../host/hostFile.ts';
import { decodeToml, parseToml, tableAt, type TomlTable } from '../../toml/document.ts';
import { isAtLeast, type Engine } from '../engine.ts';
import { whoMade } from './others.ts';
import { schemaOf } from './schema.ts';

const MAX_FILES = 256;

/**
 * Throws KATA_E_ENGINE_CONFIG_CONFLICT that names the import which is missing, defines one of `handlers`, or
 * (before containerd 2.0) replaces the CRI section as a whole; KATA_E_ENGINE_CONFIG_INVALID for one that does not parse.
 */
export async function checkImports(
  host: Host,
  engine: Engine,
  main: TomlTable,
  handlers: readonly string[],
  ours: readonly string[] = [],
): Promise<void> {
  const seen = new Set([normalize(engine.configPath), ...ours]);
  const pending = await importsOf(host, engine.configPath, main);
  for (let file = pending.shift(); file !== undefined; file = pending.shift()) {
    if (seen.has(file)) continue;
    seen.add(file);
    if (seen.size > MAX_FILES) throw conflict(engine, `it imports more than ${MAX_FILES} files`);
    const document = await readImport(host, engine, file);
    assertHarmless(engine, file, document, handlers);
    pending.push(...(await importsOf(host, file, document)));
  }
}

async function readImport(host: Host, engine: Engine, file: string): Promise<TomlTable> {
  try {
    return parseToml(decodeToml(await readFile(host.at(file)), file), file);
  } catch (error) {
    if (isMissing(error))
      throw conflict(
        engine,
        `it imports ${file}${whoMade(file)}, which does not exist: containerd would not start again; remove the import or restore the file`,
      );
    throw error;
  }
}

function assertHarmless(
  engine: Engine,
  file: string,
  document: TomlTable,
  handlers: readonly string[],
): void {
  for (const schema of [schemaOf(2), schemaOf(3)]) {
    // containerd 1.x takes the plugin's section of the last file that has one, whole.
    if (!isAtLeast(engine, 2, 0) && tableAt(document, schema.plugin) !== undefined) {
      throw conflict(
        engine,
        `the imported ${file} replaces its whole [plugins."${schema.plugin[1] ?? ''}"] section; move these settings into the main file`,
      );
    }
    const defined = Object.keys(tableAt(document, schema.runtimes) ?? {}).find((handler) =>
      handlers.includes(handler),
    );
    if (defined !== undefined)
      throw conflict(
        engine,
        `the imported ${file}${whoMade(file)} defines the handler ${defined}; remove it there`,
      );
  }
}

/** Paths on the host, in containerd's order. Only `*` makes a pattern, and a pattern may match nothing. */
async function importsOf(host: Host, file: string, document: TomlTable): Promise<string[]> {
  const listed = document['imports'];
  if (!Array.isArray(listed)) return [];
  const files: string[] = [];
  for (const entry of listed) {
    if (typeof entry !== 'string') continue;
    const path = isAbsolute(entry) ? normalize(entry) : join(dirname(file), entry);
    files.push(...(path.includes('*') ? await glob(host, path) : [path]));
  }
  return files;
}

/** Go's filepath.Glob, as far as it is used here: `*` and `?` inside one segment. */
async function glob(host: Host, pattern: string): Promise<string[]> {
  let found = ['/'];
  for (const segment of pattern.split('/').filter((part) => part !== '')) {
    if (!/[*?]/.test(segment)) {
      found = found.map((directory) => join(directory, segment));
      continue;
    }
    const expression = segmentExpression(segment);
    const matches: string[] = [];
    for (const directory of found) {
      const names = await readdir(host.at(directory)).catch(() => []);
      matches.push(
        ...names
          .filter((name) => expression.test(name))
          .sort()
          .map((name) => join(directory, name)),
      );
    }
    found = matches;
  }
  return found;
}

/** What a pattern's segment matches. */
export function segmentExpression(segment: string): RegExp {
  const literal = segment.replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`^${literal.replaceAll('*', '.*').replaceAll('?', '.')}$`);
}

function conflict(engine: Engine, cause: string): KataError {
  return new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', { file: engine.configPath, cause });
}
