/**
 * Asking the node's own CRI-O what it makes of a configuration (`crio config`), before it is put in place.
 *
 * The candidate lies in a directory of its own, with links to the other drop-in files: CRI-O reads whole directories.
 */
import { mkdir, readdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { KataError } from '../../../errors.ts';
import { execOnHost } from '../../host/exec.ts';
import type { Host } from '../../host/host.ts';
import { existsOnHost, type HostFile, isMissing, writeDurably } from '../../host/hostFile.ts';
import { ioError } from '../../host/ioError.ts';
import { parseToml, tableAt, type TomlTable, valueAt } from '../../toml/document.ts';
import { assertGivenUp, assertTakenOver, rejected } from '../acceptance.ts';
import { candidatePath } from '../containerd/candidate.ts';
import type { Engine } from '../engine.ts';

const CONFIG_TIMEOUT_MS = 30_000;
/** Path of the table of runtimes. */
export const CRIO_RUNTIMES = ['crio', 'runtime', 'runtimes'];

interface Change {
  readonly current: HostFile;
  /** Empty: without the file. */
  readonly wanted: string;
  readonly tables: TomlTable;
  readonly dropped: readonly string[];
}

/** What CRI-O makes of its files, defaults included. Throws KATA_E_ENGINE_REJECTED_CONFIG, KATA_E_ENGINE_CONFIG_CONFLICT. */
export async function crioConfig(
  host: Host,
  engine: Engine,
  directory: string,
  signal: AbortSignal,
): Promise<TomlTable> {
  // A file that is named and missing is refused; without the flag it may be missing.
  const main = (await existsOnHost(host, engine.configPath)) ? engine.configPath : '/dev/null';
  const argv = [engine.binaryPath, '--config', main, '--config-dir', directory, 'config'] as const;
  const result = await execOnHost(host, [...argv], { timeoutMs: CONFIG_TIMEOUT_MS, signal });
  if (result.code !== 0)
    throw rejected(
      engine,
      lastWords(result.stderr).replaceAll(directory, engine.dropInDirectory ?? directory) ||
        `it ended with code ${result.code}`,
    );
  const config = parseToml(result.stdout, `${engine.configPath} (crio config)`);
  const name = valueAt(config, ['crio', 'runtime', 'default_runtime']);
  if (
    typeof name === 'string' &&
    name !== '' &&
    tableAt(config, [...CRIO_RUNTIMES, name]) === undefined
  )
    throw new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', {
      file: engine.configPath,
      cause: `default_runtime is "${name}", which is not defined: CRI-O would not start again`,
    });
  return config;
}

/** The handlers are there as they should be, `dropped` are not, and everything else is what it was. */
export async function validateCrio(
  host: Host,
  engine: Engine,
  { current, wanted, tables, dropped }: Change,
  signal: AbortSignal,
): Promise<void> {
  const present = engine.dropInDirectory ?? '';
  const before = await crioConfig(host, engine, present, signal);
  const directory = candidatePath(engine.configPath);
  try {
    await layOut(host, present, directory, current.path, wanted);
    const after = await crioConfig(host, engine, directory, signal);
    const runtimes = tableAt(after, CRIO_RUNTIMES) ?? {};
    assertTakenOver(engine, runtimes, tables);
    assertGivenUp(engine, runtimes, dropped);
    const ours = [...Object.keys(tables), ...dropped];
    if (!isDeepStrictEqual(without(before, ours), without(after, ours)))
      throw rejected(engine, 'besides the Kata handlers it would change other settings');
  } finally {
    await rm(host.at(directory), { recursive: true, force: true });
  }
}

/** Links are absolute paths of the host: CRI-O runs with the host's root. */
async function layOut(
  host: Host,
  present: string,
  directory: string,
  path: string,
  wanted: string,
): Promise<void> {
  const own = path.slice(path.lastIndexOf('/') + 1);
  try {
    await rm(host.at(directory), { recursive: true, force: true });
    await mkdir(host.at(directory), { mode: 0o700 });
    for (const name of await namesIn(host, present))
      if (name !== own) await symlink(join(present, name), host.at(join(directory, name)));
    const file = { mode: 0o600, uid: 0, gid: 0 };
    if (wanted !== '') await writeDurably(host.at(join(directory, own)), Buffer.from(wanted), file);
  } catch (error) {
    throw ioError(directory, error);
  }
}

async function namesIn(host: Host, directory: string): Promise<string[]> {
  return readdir(host.at(directory)).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
}

function without(config: TomlTable, handlers: readonly string[]): TomlTable {
  const copy = structuredClone(config);
  const runtimes = tableAt(copy, CRIO_RUNTIMES) ?? {};
  for (const handler of handlers) Reflect.deleteProperty(runtimes, handler);
  return copy;
}

/** The last message, in CRI-O's words and bounded. */
function lastWords(stderr: string): string {
  const line = stderr.trimEnd().split('\n').at(-1) ?? '';
  return (/ msg="(.*)"$/.exec(line)?.[1] ?? line).slice(0, 500);
}
