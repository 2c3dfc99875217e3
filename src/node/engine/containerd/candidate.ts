/**
 * Having a candidate judged by the node's own containerd before it is put in place.
 *
 * Owns the candidate file beside the real one (same directory: relative imports mean the same) and takes it
 * away again. The running engine is never touched here.
 */
import { rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Host } from '../../host/host.ts';
import { type HostFile, readHostFile, writeDurably } from '../../host/hostFile.ts';
import { ioError } from '../../host/ioError.ts';
import {
  isTable,
  parseToml,
  tableAt,
  type TomlTable,
  type TomlValue,
} from '../../toml/document.ts';
import { assertGivenUp, assertTakenOver } from '../acceptance.ts';
import type { Engine } from '../engine.ts';
import { dumpCurrent, dumpFile, isAbsent } from './dump.ts';
import { assertDefaultRuntime, schemaOf } from './schema.ts';
import { assertStartable } from './startable.ts';
import { assertRestUnchanged } from './unchanged.ts';

/** What a candidate is to change: tables by handler that are there afterwards, and other handlers, which are not. */
interface Change {
  readonly wanted: TomlTable;
  readonly dropped: readonly string[];
}

/**
 * Writes the candidate beside the main file, has it dumped, and compares: the handlers are there as they should be,
 * and everything else is what it was. Throws KATA_E_ENGINE_REJECTED_CONFIG or _CONFLICT, KATA_E_IO.
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
    await writeCandidate(host, current, candidate);
    const after = await dumpFile(host, engine, path, signal);
    await assertStartable(host, engine, after, signal);
    assertTakenOver(engine, runtimesOf(after), change.wanted);
    assertGivenUp(engine, runtimesOf(after), change.dropped);
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
    await writeCandidate(host, { ...current, mode: 0o600 }, Buffer.from(wanted));
    await writeCandidate(host, { ...main, mode: 0o600 }, Buffer.from(text));
    const after = await dumpFile(host, engine, wrapper, signal);
    await assertStartable(host, engine, after, signal);
    const holds = current.bytes === undefined ? undefined : isDefined;
    assertTakenOver(engine, runtimesOf(after), change.wanted, holds);
    const handlers = [...Object.keys(change.wanted), ...change.dropped];
    assertRestUnchanged(engine, before, after, handlers, [wrapper, candidate, main.path]);
  } finally {
    await rm(host.at(candidate), { force: true });
    await rm(host.at(wrapper), { force: true });
  }
}

/** Beside the file; not *.toml, which an import of that pattern would load into itself. */
export function candidatePath(path: string): string {
  return join(dirname(path), `.${basename(path)}.kata-operator-candidate`);
}

/** What fails is told of the file that people know: the candidate is gone by then. */
async function writeCandidate(host: Host, file: HostFile, bytes: Buffer): Promise<void> {
  try {
    await writeDurably(host.at(candidatePath(file.path)), bytes, file);
  } catch (error) {
    throw ioError(file.path, error);
  }
}

function runtimesOf(dump: TomlTable): TomlTable {
  return tableAt(dump, schemaOf(Number(dump['version'])).runtimes) ?? {};
}

/** Of a handler that is overridden, the dump shows the earlier settings: they are loaded last. */
function isDefined(whole: TomlValue | undefined): boolean {
  return isTable(whole);
}
