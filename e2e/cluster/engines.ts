/**
 * Real containerd binaries of several releases, to run outside a cluster.
 *
 * Owns which release comes from where. It must never hand out a binary that cannot print its version on
 * this machine.
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildComponents } from './components.ts';
import { debianArchitecture, unpackedPackages, type Suite } from './debian.ts';
import { BIN, CACHE } from './paths.ts';
import { output } from './process.ts';
import { Progress, stderrLog } from './progress.ts';

export type EngineRelease = '1.6' | '1.7' | '2.1' | '2.4';

export const ENGINE_RELEASES: readonly EngineRelease[] = ['1.6', '1.7', '2.1', '2.4'];

/** The Debian suite whose containerd is of that release; 2.4 is built from its Go module. */
const SUITES: Readonly<Record<Exclude<EngineRelease, '2.4'>, Suite>> = {
  '1.6': 'bookworm',
  '1.7': 'trixie',
  '2.1': 'forky',
};

const resolved = new Map<EngineRelease, Promise<string>>();

/**
 * The path of a containerd of that release which runs on this machine. Fetched or built at first use,
 * from the cache afterwards.
 * @throws Error when it cannot be had, or does not run here
 */
export function engineBinary(release: EngineRelease): Promise<string> {
  const known = resolved.get(release);
  if (known !== undefined) return known;
  const found = findEngine(release);
  resolved.set(release, found);
  found.catch(() => resolved.delete(release));
  return found;
}

/**
 * A directory with containerd, its runc shim and ctr of that release, for a system with at least the C library of
 * Debian 12, as the images of the nodes are.
 * @throws Error when it cannot be had
 */
export async function enginePrograms(release: EngineRelease): Promise<string> {
  if (release !== '2.4') return join(await enginePackage(SUITES[release]), 'usr/bin');
  await builtEngine();
  return BIN;
}

function enginePackage(suite: Suite): Promise<string> {
  return unpackedPackages(suite, ['containerd', 'libc6', 'libseccomp2']);
}

async function findEngine(release: EngineRelease): Promise<string> {
  const path = release === '2.4' ? await builtEngine() : await debianEngine(SUITES[release]);
  const version = await output([path, '--version']);
  if (!version.includes(` ${release}.`) && !version.includes(` v${release}.`)) {
    throw new Error(`${path} is "${version}", not a containerd ${release}`);
  }
  return path;
}

async function builtEngine(): Promise<string> {
  await buildComponents(new Progress(stderrLog), ['containerd']);
  return join(BIN, 'containerd');
}

/**
 * Debian's binary is linked against its own suite's C library, which this machine may not have: a wrapper
 * starts it with the loader and the libraries of its suite.
 */
async function debianEngine(suite: Suite): Promise<string> {
  const root = await enginePackage(suite);
  const [machine, loader] =
    debianArchitecture() === 'amd64'
      ? ['x86_64-linux-gnu', 'ld-linux-x86-64.so.2']
      : ['aarch64-linux-gnu', 'ld-linux-aarch64.so.1'];
  const libraries = [join(root, 'usr/lib', machine), join(root, 'lib', machine)];
  const wrapper = join(CACHE, 'engines', suite, 'containerd');
  const script = `#!/bin/sh
for loader in ${libraries.map((directory) => join(directory, loader)).join(' ')}; do
	[ -e "$loader" ] && exec "$loader" --library-path ${libraries.join(':')} ${root}/usr/bin/containerd "$@"
done
echo "no C library in ${root}" >&2
exit 127
`;
  await mkdir(join(CACHE, 'engines', suite), { recursive: true });
  await writeFile(wrapper, script);
  await chmod(wrapper, 0o755);
  return wrapper;
}
