/**
 * Finding the engine that kubelet uses: its socket, the process that listens there, that process's binary,
 * configuration file and unit. What the specification names wins; what is running must agree with it.
 *
 * Reads only. Everything it returns is a path on the host.
 */
import { readFile } from 'node:fs/promises';
import type { NodePlan } from '../../crds/nodePlan.ts';
import { KataError } from '../../errors.ts';
import { execOnHost } from '../host/exec.ts';
import type { Host } from '../host/host.ts';
import { existsOnHost, resolveOnHost } from '../host/hostFile.ts';
import { flagValue, type HostProcess, listensOn, processesNamed, unitOf } from '../host/process.ts';
import { distributionOf, unsupportedEngine, unsupportedSystem } from './distributions/presets.ts';
import { describeEngine, type Engine, ENGINE_NAMES, type EngineName, isAtLeast } from './engine.ts';
import { kubeletSocket } from './kubelet.ts';

type Wanted = NodePlan['engine'];

/** What may listen on a CRI socket, by the name of its executable. */
const LISTENERS = new Set([...ENGINE_NAMES, 'cri-dockerd', 'k3s', 'rke2', 'k0s', 'dockerd']);

const DEFAULTS = {
  containerd: {
    socket: '/run/containerd/containerd.sock',
    configPath: '/etc/containerd/config.toml',
    unit: 'containerd.service',
  },
  crio: {
    socket: '/run/crio/crio.sock',
    configPath: '/etc/crio/crio.conf',
    unit: 'crio.service',
  },
} as const;
const CRIO_DROP_INS = '/etc/crio/crio.conf.d';
/** Oldest release whose configuration is known here. */
const OLDEST: Readonly<Record<EngineName, readonly [number, number]>> = {
  containerd: [1, 6],
  crio: [1, 20],
};
const BINARY_DIRECTORIES = ['/usr/bin', '/usr/local/bin', '/opt/containerd/bin', '/opt/bin'];
const UNIT_DIRECTORIES = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
];
const VERSION_TIMEOUT_MS = 20_000;

/** Throws KATA_E_ENGINE_NOT_FOUND, KATA_E_ENGINE_UNSUPPORTED with the reason, KATA_E_ENGINE_CONFIG_CONFLICT when the wish and the running engine differ. */
export async function discoverEngine(
  host: Host,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<Engine> {
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
  assertKnown(engine, wanted);
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

async function installedUnit(host: Host, units: readonly string[]): Promise<string | undefined> {
  for (const unit of units) {
    const files = UNIT_DIRECTORIES.map((directory) => `${directory}/${unit}`);
    if ((await firstExisting(host, files)) !== undefined) return unit;
  }
  return undefined;
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
  const version = await versionOf(host, process.exe, signal);
  const unit = await unitOf(host, process.pid);
  return {
    name,
    version,
    configPath,
    ...dropIns(name, flagValue(process.argv, '--config-dir', '-d')),
    socket,
    binaryPath: process.exe,
    running: true,
    ...(unit === undefined ? {} : { unit }),
  };
}

/** By hand, on a host whose engine is stopped: what is installed, and what it will read when it starts. */
async function installedEngine(
  host: Host,
  wanted: Wanted,
  socket: string,
  signal: AbortSignal,
): Promise<Engine> {
  const found = await installedBinary(host, wanted);
  if (found === undefined) {
    const docker = await firstExisting(host, ['/usr/bin/dockerd', '/usr/local/bin/dockerd']);
    if (docker !== undefined)
      throw unsupported({
        name: 'Docker',
        cause:
          'there is no containerd of its own on this host; hosts with Docker only are not supported by this version',
      });
    throw new KataError('KATA_E_ENGINE_NOT_FOUND', {
      cause: `nothing listens on ${socket}, and there is no engine in ${BINARY_DIRECTORIES.join(', ')}`,
    });
  }
  const { name, binaryPath } = found;
  const { unit } = DEFAULTS[name];
  const version = await versionOf(host, binaryPath, signal);
  const unitFile = await installedUnit(host, [unit]);
  return {
    name,
    version,
    configPath: wanted.configPath ?? DEFAULTS[name].configPath,
    ...dropIns(name, undefined),
    socket,
    binaryPath,
    running: false,
    ...(unitFile === undefined ? {} : { unit }),
  };
}

/** containerd first: CRI-O's packages bring none along. */
async function installedBinary(
  host: Host,
  wanted: Wanted,
): Promise<{ name: EngineName; binaryPath: string } | undefined> {
  for (const name of wanted.type === 'Auto' ? ENGINE_NAMES : [wanted.type]) {
    const paths = BINARY_DIRECTORIES.map((directory) => `${directory}/${name}`);
    const binaryPath = await firstExisting(host, paths);
    if (binaryPath !== undefined) return { name, binaryPath };
  }
  return undefined;
}

function dropIns(name: EngineName, directory: string | undefined): { dropInDirectory?: string } {
  return name === 'crio' ? { dropInDirectory: directory ?? CRIO_DROP_INS } : {};
}

/** Throws KATA_E_ENGINE_UNSUPPORTED for what is too old, KATA_E_ENGINE_CONFIG_CONFLICT for another engine than the one asked for. */
function assertKnown(engine: Engine, { type }: Wanted): void {
  if (type !== 'Auto' && type !== engine.name)
    throw new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', {
      file: engine.configPath,
      cause: `spec.engine.type is ${type}, but the engine at ${engine.socket} is ${describeEngine(engine)}`,
    });
  const [major, minor] = OLDEST[engine.name];
  if (!isAtLeast(engine, major, minor))
    throw unsupported({
      name: describeEngine(engine),
      cause: `it is older than ${describeEngine({ ...engine, version: `${major}.${minor}` })}`,
    });
}

async function versionOf(host: Host, binaryPath: string, signal: AbortSignal): Promise<string> {
  const { code, stdout, stderr } = await execOnHost(host, [binaryPath, '--version'], {
    timeoutMs: VERSION_TIMEOUT_MS,
    signal,
  });
  const version = coerceVersion(stdout);
  if (code === 0 && version !== undefined) return version;
  throw new KataError('KATA_E_ENGINE_UNSUPPORTED', {
    engine: binaryPath,
    cause: `its version is unreadable: ${(stdout + stderr).trim().slice(0, 200)}`,
  });
}

/** Of `containerd github.com/containerd/containerd/v2 v2.4.2 <hash>` and its kin (`1.7.24~ds1`, `2.1.9+unknown`). */
export function coerceVersion(output: string): string | undefined {
  const match = /(?:^|\s)v?(\d+\.\d+\.\d+)(?=[-+~\s]|$)/m.exec(output);
  return match?.[1];
}

async function firstExisting(host: Host, paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await existsOnHost(host, path)) return path;
  return undefined;
}

function unsupported({ name, cause }: { name: string; cause: string }): KataError {
  return new KataError('KATA_E_ENGINE_UNSUPPORTED', { engine: name, cause });
}
