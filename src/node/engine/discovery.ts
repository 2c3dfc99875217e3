/**
 * Finding the engine that kubelet uses: its socket, the process that listens there, that process's binary,
 * configuration file and unit. What the specification names wins; what is running must agree with it.
 *
 * Reads only. Everything it returns is a path on the host.
 */
import { readFile } from 'node:fs/promises';
import type { NodePlan } from '../../crds/nodePlan.ts';
import { KataError } from '../../errors.ts';
import type { Host } from '../host/host.ts';
import { resolveOnHost } from '../host/hostFile.ts';
import { flagValue, type HostProcess, listensOn, processesNamed, unitOf } from '../host/process.ts';
import { DEFAULTS, dropIns } from './defaults.ts';
import { distributionOf, unsupportedEngine, unsupportedSystem } from './distributions/presets.ts';
import { describeEngine, type Engine, ENGINE_NAMES, isAtLeast } from './engine.ts';
import { installedEngine, installedUnit } from './installed.ts';
import { kubeletSocket } from './kubelet.ts';
import { assertNotTooOld, type BinaryVersion, recallVersion, versionOf } from './version.ts';

type Wanted = NodePlan['engine'];

/** What may listen on a CRI socket, by the name of its executable. */
const LISTENERS = new Set([...ENGINE_NAMES, 'cri-dockerd', 'k3s', 'rke2', 'k0s', 'dockerd']);

/**
 * `known`: what an earlier run has written down of the engine, so that a binary that is the same still need not be run.
 * Throws KATA_E_ENGINE_NOT_FOUND, KATA_E_ENGINE_UNSUPPORTED with the reason, KATA_E_ENGINE_CONFIG_CONFLICT when the wish and the running engine differ.
 */
export async function discoverEngine(
  host: Host,
  wanted: Wanted,
  signal: AbortSignal,
  known?: BinaryVersion,
): Promise<Engine> {
  if (known !== undefined) recallVersion(known);
  const name = wanted.type === 'crio' ? 'crio' : 'containerd';
  const socket = wanted.socket ?? (await kubeletSocket(host)) ?? DEFAULTS[name].socket;
  const process = await listenerOf(host, socket);
  const paths = [
    socket,
    wanted.configPath ?? '',
    ...(process === undefined ? [] : [process.exe, configOf(process) ?? '']),
  ];
  const problem = unsupportedSystem(await osRelease(host)) ?? unsupportedEngine(paths);
  if (problem !== undefined) throw unsupported(problem);
  const engine =
    process === undefined
      ? await installedEngine(host, wanted, socket, signal)
      : await runningEngine(host, wanted, socket, process, signal);
  assertWanted(engine, wanted);
  assertNotTooOld(engine);
  return process === undefined ? engine : ofDistribution(host, engine, paths);
}

/** The engine of a distribution: who writes its file, and the unit that runs it as a part of something larger. */
async function ofDistribution(
  host: Host,
  engine: Engine,
  paths: readonly string[],
): Promise<Engine> {
  const distribution = distributionOf(paths);
  if (distribution === undefined) return engine;
  const { name, units, dropInDirectory } = distribution;
  if (dropInDirectory !== undefined && !isAtLeast(engine, 2, 0))
    throw unsupported({
      name: `${name} with ${describeEngine(engine)}`,
      cause:
        'it merges drop-in files by rules of its own; from containerd 2.0 on they can be checked',
    });
  const unit = engine.unit ?? (await installedUnit(host, units));
  return { ...engine, distribution: name, ...(unit === undefined ? {} : { unit }) };
}

async function osRelease(host: Host): Promise<string> {
  for (const path of ['/etc/os-release', '/usr/lib/os-release']) {
    const resolved = await resolveOnHost(host, path);
    const text = await readFile(host.at(resolved), 'utf8').catch(() => undefined);
    if (text !== undefined) return text;
  }
  return '';
}

/** The engine process that accepts connections on the socket. */
async function listenerOf(host: Host, socket: string): Promise<HostProcess | undefined> {
  const resolved = await resolveOnHost(host, socket);
  const names = new Set([socket, resolved, resolved.replace(/^\/run\//, '/var/run/')]);
  for (const process of await processesNamed(host, LISTENERS)) {
    if (await listensOn(host, process.pid, names)) return process;
  }
  return undefined;
}

function configOf(process: HostProcess): string | undefined {
  return flagValue(process.argv, '--config', '-c');
}

async function runningEngine(
  host: Host,
  wanted: Wanted,
  socket: string,
  process: HostProcess,
  signal: AbortSignal,
): Promise<Engine> {
  const name = ENGINE_NAMES.find((candidate) => process.exe.endsWith(`/${candidate}`));
  if (name === undefined) {
    throw unsupported({
      name: process.exe.slice(process.exe.lastIndexOf('/') + 1),
      cause: `it listens on ${socket}, which kubelet uses, and is neither containerd nor CRI-O`,
    });
  }
  const used = configOf(process) ?? DEFAULTS[name].configPath;
  const configPath = wanted.configPath ?? used;
  if ((await resolveOnHost(host, configPath)) !== (await resolveOnHost(host, used))) {
    throw new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', {
      file: configPath,
      cause: `spec.engine.configPath names it, but the ${name} at ${socket} (pid ${process.pid}) reads ${used}`,
    });
  }
  const told = await versionOf(host, process.exe, signal);
  const unit = await unitOf(host, process.pid);
  return {
    name,
    ...told,
    configPath,
    ...dropIns(name, flagValue(process.argv, '--config-dir', '-d')),
    socket,
    binaryPath: process.exe,
    running: true,
    ...(unit === undefined ? {} : { unit }),
  };
}

/** Throws KATA_E_ENGINE_CONFIG_CONFLICT for another engine than the one asked for. */
function assertWanted(engine: Engine, { type }: Wanted): void {
  if (type !== 'Auto' && type !== engine.name)
    throw new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', {
      file: engine.configPath,
      cause: `spec.engine.type is ${type}, but the engine at ${engine.socket} is ${describeEngine(engine)}`,
    });
}

function unsupported({ name, cause }: { name: string; cause: string }): KataError {
  return new KataError('KATA_E_ENGINE_UNSUPPORTED', { engine: name, cause });
}
