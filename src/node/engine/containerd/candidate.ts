/**
 * Asking the node's own containerd what it makes of a configuration, before it is put in place.
 *
 * Owns the candidate file beside the real one (same directory: relative imports mean the same) and takes it
 * away again. The running engine is never touched here.
 */
import { rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { KataError } from '../../../errors.ts';
import { execOnHost } from '../../host/exec.ts';
import type { Host } from '../../host/host.ts';
import { type HostFile, readHostFile, writeDurably } from '../../host/hostFile.ts';
import {
  decodeToml,
  isTable,
  parseToml,
  tableAt,
  type TomlTable,
  type TomlValue,
} from '../../toml/document.ts';
import { contains } from '../../toml/extend.ts';
import { renderPath } from '../../toml/render.ts';
import { describeEngine, type Engine } from '../engine.ts';
import { assertDefaultRuntime, isBlank, schemaOf } from './schema.ts';

const DUMP_TIMEOUT_MS = 30_000;

/** What containerd makes of a configuration file, imports and defaults included. Throws KATA_E_ENGINE_REJECTED_CONFIG. */
async function dumpFile(
  host: Host,
  engine: Engine,
  file: string,
  signal: AbortSignal,
): Promise<TomlTable> {
  return dump(host, engine, ['--config', file, 'config', 'dump'], file, signal);
}

/** What containerd makes of its configuration as it is. Without a file, or with a blank one, these are its defaults. */
export async function dumpCurrent(
  host: Host,
  engine: Engine,
  { bytes, path }: HostFile,
  signal: AbortSignal,
): Promise<TomlTable> {
  // A dump of a missing file fails in 1.x, and one of a blank file claims to be of version 1.
  return isAbsent({ bytes, path })
    ? dump(host, engine, ['config', 'default'], path, signal)
    : dumpFile(host, engine, path, signal);
}

async function dump(
  host: Host,
  engine: Engine,
  args: readonly string[],
  file: string,
  signal: AbortSignal,
): Promise<TomlTable> {
  const result = await execOnHost(host, [engine.binaryPath, ...args], {
    timeoutMs: DUMP_TIMEOUT_MS,
    signal,
  });
  if (result.code !== 0) {
    throw rejected(
      engine,
      lastWords(result.stderr).replaceAll(file, engine.configPath) ||
        `it ended with code ${result.code}`,
    );
  }
  return parseToml(result.stdout, `${engine.configPath} (${args.slice(-2).join(' ')})`);
}

/** What a candidate is to change: tables by handler that are there afterwards, and handlers that are not. */
interface Change {
  readonly wanted: TomlTable;
  readonly dropped: readonly string[];
}

/**
 * Writes the candidate beside the main file, has it dumped, and compares: the handlers are there as they should be,
 * and everything else is what it was. Throws KATA_E_ENGINE_REJECTED_CONFIG or _CONFLICT.
 */
export async function validateMain(
  host: Host,
  engine: Engine,
  current: HostFile,
  candidate: Buffer,
  change: Change,
  signal: AbortSignal,
): Promise<void> {
  const before = await dumpCurrent(host, engine, current, signal);
  assertDefaultRuntime(before, engine.configPath);
  const path = candidatePath(current.path);
  try {
    await writeDurably(host.at(path), candidate, current);
    const after = await dumpFile(host, engine, path, signal);
    assertDefaultRuntime(after, engine.configPath);
    assertHandlers(engine, after, change, contains);
    assertNotLeft(engine, after, change);
    const handlers = [...Object.keys(change.wanted), ...change.dropped];
    assertRestUnchanged(engine, before, after, handlers, [path, current.path]);
  } finally {
    await rm(host.at(path), { force: true });
  }
}

/**
 * The same for a drop-in: the dump is of a file that imports the main file and the candidate. An earlier drop-in of
 * ours is still imported by the main file, so its handlers are in the dump as well, and win.
 */
export async function validateDropIn(
  host: Host,
  engine: Engine,
  { current, wanted }: { readonly current: HostFile; readonly wanted: string },
  change: Change,
  signal: AbortSignal,
): Promise<void> {
  const main = await readHostFile(host, engine.configPath);
  const before = await dumpCurrent(host, engine, main, signal);
  assertDefaultRuntime(before, engine.configPath);
  if (wanted === '') return;
  const candidate = candidatePath(current.path);
  const wrapper = candidatePath(main.path);
  const imports = [...(isAbsent(main) ? [] : [main.path]), candidate];
  const version = Number(parseToml(wanted, current.path)['version']);
  const text = `version = ${version}\nimports = ${JSON.stringify(imports)}\n`;
  try {
    await writeDurably(host.at(candidate), Buffer.from(wanted), { ...current, mode: 0o600 });
    await writeDurably(host.at(wrapper), Buffer.from(text), { ...main, mode: 0o600 });
    const after = await dumpFile(host, engine, wrapper, signal);
    assertDefaultRuntime(after, engine.configPath);
    assertHandlers(engine, after, change, current.bytes === undefined ? contains : isDefined);
    const handlers = [...Object.keys(change.wanted), ...change.dropped];
    assertRestUnchanged(engine, before, after, handlers, [wrapper, candidate, main.path]);
  } finally {
    await rm(host.at(candidate), { force: true });
    await rm(host.at(wrapper), { force: true });
  }
}

/** Patterns among the imports that are in force, also those that are containerd's own default. */
export async function effectivePatterns(
  host: Host,
  engine: Engine,
  signal: AbortSignal,
): Promise<string[]> {
  const { imports } = await dumpCurrent(
    host,
    engine,
    await readHostFile(host, engine.configPath),
    signal,
  );
  if (!Array.isArray(imports)) return [];
  return imports
    .filter((entry) => typeof entry === 'string')
    .filter((entry) => entry.includes('*'));
}

function isAbsent({
  bytes,
  path,
}: Pick<HostFile, 'path'> & { bytes?: Buffer | undefined }): boolean {
  return bytes === undefined || isBlank(parseToml(decodeToml(bytes, path), path));
}

/** Beside the file; not *.toml, which an import of that pattern would load into itself. */
export function candidatePath(path: string): string {
  return join(dirname(path), `.${basename(path)}.kata-operator-candidate`);
}

function assertHandlers(
  engine: Engine,
  after: TomlTable,
  { wanted }: Change,
  holds: (whole: TomlValue | undefined, part: TomlValue) => boolean,
): void {
  const runtimes = runtimesOf(after);
  const wrong = Object.entries(wanted).find(([handler, table]) => !holds(runtimes[handler], table));
  if (wrong !== undefined)
    throw rejected(engine, `it does not take over handler ${wrong[0]} as it was written`);
}

function assertNotLeft(engine: Engine, after: TomlTable, { wanted, dropped }: Change): void {
  const runtimes = runtimesOf(after);
  const left = dropped.find(
    (handler) => Object.hasOwn(runtimes, handler) && !Object.hasOwn(wanted, handler),
  );
  if (left !== undefined)
    throw rejected(engine, `handler ${left} is still defined by another file`);
}

function runtimesOf(dump: TomlTable): TomlTable {
  return tableAt(dump, schemaOf(Number(dump['version'])).runtimes) ?? {};
}

/** Of a handler that is overridden, the dump shows the earlier settings: they are loaded last. */
function isDefined(whole: TomlValue | undefined): boolean {
  return isTable(whole);
}

function assertRestUnchanged(
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

/** The last line that is no warning, in containerd's words and bounded. */
function lastWords(stderr: string): string {
  const lines = stderr
    .split('\n')
    .filter((line) => line.trim() !== '' && !/level=(warning|info|debug)/.test(line));
  return (lines.at(-1) ?? '').replace(/^containerd: /, '').slice(0, 500);
}

function rejected(engine: Engine, cause: string): KataError {
  return new KataError('KATA_E_ENGINE_REJECTED_CONFIG', {
    engine: describeEngine(engine),
    cause,
    file: engine.configPath,
  });
}
