/**
 * The engine of a host on which none runs: what is installed, and what it will read when it starts.
 *
 * Looks at the usual places only, and runs nothing but the binary's own `--version`.
 */
import type { NodePlan } from '../../crds/nodePlan.ts';
import { KataError } from '../../errors.ts';
import type { Host } from '../host/host.ts';
import { existsOnHost } from '../host/hostFile.ts';
import { DEFAULTS, dropIns } from './defaults.ts';
import { type Engine, ENGINE_NAMES, type EngineName } from './engine.ts';
import { versionOf } from './version.ts';

const BINARY_DIRECTORIES = ['/usr/bin', '/usr/local/bin', '/opt/containerd/bin', '/opt/bin'];
const UNIT_DIRECTORIES = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
];

/** Throws KATA_E_ENGINE_NOT_FOUND, and KATA_E_ENGINE_UNSUPPORTED for Docker alone or an unreadable version. */
export async function installedEngine(
  host: Host,
  wanted: NodePlan['engine'],
  socket: string,
  signal: AbortSignal,
): Promise<Engine> {
  const found = await installedBinary(host, wanted);
  if (found === undefined) {
    const docker = await firstExisting(host, ['/usr/bin/dockerd', '/usr/local/bin/dockerd']);
    if (docker !== undefined)
      throw new KataError('KATA_E_ENGINE_UNSUPPORTED', {
        engine: 'Docker',
        cause:
          'there is no containerd of its own on this host; hosts with Docker only are not supported by this version',
      });
    throw new KataError('KATA_E_ENGINE_NOT_FOUND', {
      cause: `nothing listens on ${socket}, and there is no engine in ${BINARY_DIRECTORIES.join(', ')}`,
    });
  }
  const { name, binaryPath } = found;
  const usual = DEFAULTS[name];
  const told = await versionOf(host, binaryPath, signal);
  const unit = await installedUnit(host, [usual.unit]);
  return {
    name,
    ...told,
    configPath: wanted.configPath ?? usual.configPath,
    ...dropIns(name, undefined),
    socket,
    binaryPath,
    running: false,
    ...(unit === undefined ? {} : { unit }),
  };
}

/** containerd first: CRI-O's packages bring none along. */
async function installedBinary(
  host: Host,
  wanted: NodePlan['engine'],
): Promise<{ name: EngineName; binaryPath: string } | undefined> {
  for (const name of wanted.type === 'Auto' ? ENGINE_NAMES : [wanted.type]) {
    const paths = BINARY_DIRECTORIES.map((directory) => `${directory}/${name}`);
    const binaryPath = await firstExisting(host, paths);
    if (binaryPath !== undefined) return { name, binaryPath };
  }
  return undefined;
}

/** The first of the units that the host has. */
export async function installedUnit(
  host: Host,
  units: readonly string[],
): Promise<string | undefined> {
  for (const unit of units) {
    const files = UNIT_DIRECTORIES.map((directory) => `${directory}/${unit}`);
    if ((await firstExisting(host, files)) !== undefined) return unit;
  }
  return undefined;
}

async function firstExisting(host: Host, paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await existsOnHost(host, path)) return path;
  return undefined;
}
