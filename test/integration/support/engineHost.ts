/**
 * A host with systemd and the containerd of a given release. Debian's older and newer packages are laid over the
 * programs of the node image: they need no image, and no C library, of their own.
 */
import { join } from 'node:path';
import { type EngineRelease, enginePrograms } from '../../../e2e/cluster/engines.ts';
import { IMAGES } from '../../../e2e/cluster/images.ts';
import { SystemdHost } from './systemdHost.ts';

/** The shim of runc is started by name, and goes with its containerd. */
const PROGRAMS = ['containerd', 'containerd-shim-runc-v2', 'ctr'];

/** `volumes`: see SystemdHost.start. */
export async function startEngineHost(
  release: EngineRelease,
  volumes: readonly string[] = [],
): Promise<SystemdHost> {
  const isSecond = release.startsWith('2');
  const image = isSecond ? IMAGES.node24 : IMAGES.node17;
  const own = release === '1.7' || release === '2.4';
  const directory = isSecond ? '/usr/local/bin' : '/usr/bin';
  const programs = await enginePrograms(release);
  const laid = PROGRAMS.map((name) => `${join(programs, name)}:${join(directory, name)}:ro`);
  return SystemdHost.start(image, own ? volumes : [...volumes, ...laid]);
}
