/**
 * Debian packages and root file systems, fetched by Debian's own tools from the mirror of this machine.
 *
 * Owns an apt configuration of its own per suite. It must never change the machine's package lists, nor
 * accept an archive without its signature.
 */
import { access, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withLock } from './lock.ts';
import { CACHE } from './paths.ts';
import { output, run } from './process.ts';

export type Suite = 'bookworm' | 'trixie' | 'forky';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** A shell script that knows its distribution's own mirror. */
const DEBOOTSTRAP = '/usr/sbin/debootstrap';

/** Debian's name for this machine's architecture. */
export const debianArchitecture = (): string => (process.arch === 'x64' ? 'amd64' : process.arch);

/** The mirror: DEBIAN_MIRROR, else the one apt is configured with, else debootstrap's. */
export async function debianMirror(): Promise<string> {
  const named = process.env['DEBIAN_MIRROR'];
  if (named !== undefined && named !== '') return named;
  const uris = await output(['apt-get', 'indextargets', '--format', '$(SITE) $(ORIGIN)']).catch(
    () => '',
  );
  const debian = uris.split('\n').find((line) => line.endsWith(' Debian'));
  const site = debian?.split(' ')[0];
  return site === undefined || site.includes('security') ? defaultMirror() : site;
}

async function defaultMirror(): Promise<string> {
  const script = await readFile(DEBOOTSTRAP, 'utf8');
  const mirror = /^DEF_MIRROR="(\S+\/debian)"$/m.exec(script)?.[1];
  if (mirror !== undefined) return mirror;
  throw new Error('no Debian mirror is known: set DEBIAN_MIRROR to the URL of one');
}

/** A directory into which these packages of a suite, without their dependencies, are unpacked. */
export async function unpackedPackages(
  suite: Suite,
  packages: readonly string[],
  signal?: AbortSignal,
): Promise<string> {
  const directory = join(CACHE, 'debian', suite, packages.join('+'));
  if (await exists(directory)) return directory;
  return withLock(join(CACHE, `debian-${suite}.lock`), async () => {
    if (await exists(directory)) return directory;
    const partial = `${directory}.partial`;
    await rm(partial, { recursive: true, force: true });
    await mkdir(join(partial, 'archives'), { recursive: true });
    const options = await aptOptions(suite, signal);
    await run(['apt-get', ...options, 'download', ...packages], {
      cwd: join(partial, 'archives'),
      timeoutMs: 10 * 60_000,
      signal,
    });
    for (const archive of await readdir(join(partial, 'archives'))) {
      await run(['dpkg', '-x', join(partial, 'archives', archive), partial]);
    }
    await rm(join(partial, 'archives'), { recursive: true });
    await rename(partial, directory);
    return directory;
  });
}

/** Makes a root file system of a suite, as a tar archive (xattrs and owners kept). */
export async function debootstrapTar(
  suite: Suite,
  packages: readonly string[],
  target: string,
  signal?: AbortSignal,
): Promise<void> {
  const root = `${target}.rootfs`;
  await rm(root, { recursive: true, force: true });
  const include = `--include=${packages.join(',')}`;
  const mirror = await debianMirror();
  const options = { timeoutMs: 20 * 60_000, nice: true, signal };
  await run(
    ['debootstrap', `--keyring=${KEYRING}`, '--variant=minbase', include, suite, root, mirror],
    options,
  );
  const excluded = ['var/cache/apt/*', 'var/lib/apt/lists/*', 'usr/share/{doc,man,locale}/*'];
  const patterns = excluded.flatMap(expandBraces).map((pattern) => `--exclude=./${pattern}`);
  await run(
    ['tar', '--create', '--xattrs', '--numeric-owner', ...patterns].concat([
      '--file',
      `${target}.partial`,
      '--directory',
      root,
      '.',
    ]),
    options,
  );
  await rename(`${target}.partial`, target);
  await rm(root, { recursive: true, force: true });
}

function expandBraces(pattern: string): string[] {
  const match = /^(.*)\{(.*)\}(.*)$/.exec(pattern);
  if (match === null) return [pattern];
  return (match[2] ?? '').split(',').map((word) => `${match[1] ?? ''}${word}${match[3] ?? ''}`);
}

/** Options that make apt-get work on one suite only, with lists and state in the cache. */
async function aptOptions(suite: Suite, signal?: AbortSignal): Promise<string[]> {
  const state = join(CACHE, 'debian', suite, 'apt');
  const sources = join(state, 'sources.list');
  const line = `deb [signed-by=${KEYRING}] ${await debianMirror()} ${suite} main\n`;
  const options = Object.entries({
    'Dir::State': state,
    'Dir::State::status': join(state, 'status'),
    'Dir::State::lists': join(state, 'lists'),
    'Dir::Cache': join(state, 'cache'),
    'Dir::Etc::sourcelist': sources,
    'Dir::Etc::sourceparts': '/dev/null',
    'APT::Sandbox::User': 'root',
    // Post-Invoke hooks of the machine are for its own lists and caches.
    'Dir::Etc::parts': '/dev/null',
  }).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  if ((await readFile(sources, 'utf8').catch(() => '')) !== line) {
    await mkdir(join(state, 'lists/partial'), { recursive: true });
    await mkdir(join(state, 'cache/archives/partial'), { recursive: true });
    await writeFile(join(state, 'status'), '');
    await writeFile(`${sources}.new`, line);
    await run(['apt-get', ...options, '-o', `Dir::Etc::sourcelist=${sources}.new`, 'update'], {
      timeoutMs: 10 * 60_000,
      signal,
    });
    await rename(`${sources}.new`, sources);
  }
  return options;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
