/**
 * What the node's own containerd makes of a configuration, imports and defaults included: its `config dump`.
 *
 * Owns the calls of its binary and what their complaints mean. Writes nothing, and never asks the running engine.
 */
import { execOnHost } from '../../host/exec.ts';
import type { Host } from '../../host/host.ts';
import { type HostFile, readHostFile } from '../../host/hostFile.ts';
import { decodeToml, parseToml, type TomlTable } from '../../toml/document.ts';
import { rejected } from '../acceptance.ts';
import type { Engine } from '../engine.ts';
import { isBlank } from './schema.ts';

const DUMP_TIMEOUT_MS = 30_000;

/** What containerd makes of a configuration file, imports and defaults included. Throws KATA_E_ENGINE_REJECTED_CONFIG. */
export async function dumpFile(
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

/** Whether there is no file, or no setting in it. */
export function isAbsent({
  bytes,
  path,
}: Pick<HostFile, 'path'> & { bytes?: Buffer | undefined }): boolean {
  return bytes === undefined || isBlank(parseToml(decodeToml(bytes, path), path));
}

/** The last line that is no warning, in containerd's words and bounded. */
function lastWords(stderr: string): string {
  const lines = stderr
    .split('\n')
    .filter((line) => line.trim() !== '' && !/level=(warning|info|debug)/.test(line));
  return (lines.at(-1) ?? '').replace(/^containerd: /, '').slice(0, 500);
}
