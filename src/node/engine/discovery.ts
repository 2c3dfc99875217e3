/**
 * Finding the engine that kubelet uses: its socket, the process that listens there, that process's binary,
 * configuration file and unit. What the specification names wins; what is running must agree with it.
 *
 * Reads only. Everything it returns is a path on the host.
 */
import type { NodePlan } from '../../crds/nodePlan.ts';
import { KataError } from '../../errors.ts';
import { execOnHost } from '../host/exec.ts';
import type { Host } from '../host/host.ts';
import { existsOnHost, resolveOnHost } from '../host/hostFile.ts';
import { flagValue, type HostProcess, listensOn, processesNamed, unitOf } from '../host/process.ts';
import { unsupportedPreset } from './distributions/presets.ts';
import { describeEngine, type Engine, isAtLeast } from './engine.ts';
import { kubeletSocket } from './kubelet.ts';

type Wanted = NodePlan['engine'];

const ENGINE_NAMES = new Set([
  'containerd',
  'crio',
  'cri-dockerd',
  'k3s',
  'rke2',
  'k0s',
  'dockerd',
]);
const DEFAULT_SOCKET = '/run/containerd/containerd.sock';
const DEFAULT_CONFIG = '/etc/containerd/config.toml';
const DEFAULT_UNIT = 'containerd.service';
const BINARY_PATHS = [
  '/usr/bin/containerd',
  '/usr/local/bin/containerd',
  '/opt/containerd/bin/containerd',
  '/opt/bin/containerd',
];
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
  if (wanted.type === 'crio')
    throw unsupported(
      unsupportedPreset(['/run/crio/crio.sock']) ?? { name: 'CRI-O', cause: 'not supported' },
    );
  const socket = wanted.socket ?? (await kubeletSocket(host)) ?? DEFAULT_SOCKET;
  const process = await listenerOf(host, socket);
  const preset = unsupportedPreset([
    socket,
    wanted.configPath ?? '',
    ...(process === undefined ? [] : [process.exe, configOf(process) ?? '']),
  ]);
  if (preset !== undefined) throw unsupported(preset);
  const engine =
    process === undefined
      ? await installedEngine(host, wanted, socket, signal)
      : await runningEngine(host, wanted, socket, process, signal);
  if (!isAtLeast(engine, 1, 6))
    throw unsupported({ name: describeEngine(engine), cause: 'it is older than containerd 1.6' });
  return engine;
}

/** The engine process that accepts connections on the socket. */
async function listenerOf(host: Host, socket: string): Promise<HostProcess | undefined> {
  const resolved = await resolveOnHost(host, socket);
  const names = new Set([socket, resolved, resolved.replace(/^\/run\//, '/var/run/')]);
  for (const process of await processesNamed(host, ENGINE_NAMES)) {
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
  if (!process.exe.endsWith('/containerd')) {
    throw unsupported({
      name: process.exe.slice(process.exe.lastIndexOf('/') + 1),
      cause: `it listens on ${socket}, which kubelet uses, and is not containerd`,
    });
  }
  const used = configOf(process) ?? DEFAULT_CONFIG;
  const configPath = wanted.configPath ?? used;
  if ((await resolveOnHost(host, configPath)) !== (await resolveOnHost(host, used))) {
    throw new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', {
      file: configPath,
      cause: `spec.engine.configPath names it, but the containerd at ${socket} (pid ${process.pid}) reads ${used}`,
    });
  }
  const version = await versionOf(host, process.exe, signal);
  const unit = await unitOf(host, process.pid);
  return {
    name: 'containerd',
    version,
    configPath,
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
  const binaryPath = await firstExisting(host, BINARY_PATHS);
  if (binaryPath === undefined) {
    const docker = await firstExisting(host, ['/usr/bin/dockerd', '/usr/local/bin/dockerd']);
    if (docker !== undefined)
      throw unsupported({
        name: 'Docker',
        cause:
          'there is no containerd of its own on this host; hosts with Docker only are not supported by this version',
      });
    throw new KataError('KATA_E_ENGINE_NOT_FOUND', {
      cause: `nothing listens on ${socket}, and there is no containerd in ${BINARY_PATHS.join(', ')}`,
    });
  }
  const version = await versionOf(host, binaryPath, signal);
  const unitFile = await firstExisting(
    host,
    UNIT_DIRECTORIES.map((directory) => `${directory}/${DEFAULT_UNIT}`),
  );
  const configPath = wanted.configPath ?? DEFAULT_CONFIG;
  return {
    name: 'containerd',
    version,
    configPath,
    socket,
    binaryPath,
    running: false,
    ...(unitFile === undefined ? {} : { unit: DEFAULT_UNIT }),
  };
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
