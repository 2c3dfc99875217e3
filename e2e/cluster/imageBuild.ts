/**
 * How the images of the harness are put together with the local Docker Engine.
 *
 * Owns the build contexts in the cache. It must never ask a registry for anything.
 */
import { chmod, copyFile, cp, link, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { unpackedPackages } from './debian.ts';
import { KEY_LABEL } from './docker.ts';
import { BIN, CACHE, IMAGE_FILES } from './paths.ts';
import { output, run, which } from './process.ts';

/** Makes a one-layer image of a tar archive. `changes` are Dockerfile instructions. */
export async function importTar(
  tar: string,
  reference: string,
  key: string,
  changes: readonly string[],
): Promise<void> {
  const all = [`LABEL ${KEY_LABEL}=${key}`, ...changes].flatMap((change) => ['--change', change]);
  await run(['docker', 'import', ...all, tar, reference], { timeoutMs: 10 * 60_000 });
}

export interface SystemImageBuild {
  readonly name: string;
  readonly reference: string;
  readonly base: string;
  readonly key: string;
  readonly binaries: readonly string[];
}

/** Builds `image/<name>.Dockerfile`; in its context are image/ and, as `bin/`, the named binaries. */
export async function buildSystemImage(image: SystemImageBuild): Promise<void> {
  const context = join(CACHE, 'contexts', image.name);
  await rm(context, { recursive: true, force: true });
  await cp(IMAGE_FILES, context, { recursive: true });
  await mkdir(join(context, 'bin'));
  for (const name of image.binaries) await link(join(BIN, name), join(context, 'bin', name));
  await run(
    [
      // Nothing is fetched in a build: no network, so that Docker's default one need not work.
      ...['docker', 'build', '--network', 'none'],
      ...['--file', join(context, `${image.name}.Dockerfile`)],
      ...['--tag', image.reference, '--label', `${KEY_LABEL}=${image.key}`],
      ...['--build-arg', `BASE=${image.base}`, context],
    ],
    // The classic builder needs no plugin and takes a local base image as it is.
    { env: { DOCKER_BUILDKIT: '0' }, timeoutMs: 20 * 60_000 },
  );
  await rm(context, { recursive: true, force: true });
}

/** Debian's static busybox with a name for each of its programs. */
export async function importBusybox(
  reference: string,
  key: string,
  signal?: AbortSignal,
): Promise<void> {
  const unpacked = await unpackedPackages('trixie', ['busybox-static'], signal);
  const root = await emptyTree('busybox');
  for (const directory of ['bin', 'etc', 'tmp', 'root', 'var', 'dev', 'proc', 'sys']) {
    await mkdir(join(root, directory));
  }
  await chmod(join(root, 'tmp'), 0o1777);
  const binary = join(root, 'bin/busybox');
  await copyFile(join(unpacked, 'usr/bin/busybox'), binary);
  await chmod(binary, 0o755);
  const programs = (await output([binary, '--list'])).split('\n');
  for (const name of programs.filter((program) => program !== 'busybox')) {
    await link(binary, join(root, 'bin', name));
  }
  await importTree(root, reference, key, ['ENV PATH=/bin', 'CMD ["sh"]']);
}

/** The static program that holds the namespaces of Pods. */
export async function importPause(reference: string, key: string): Promise<void> {
  const root = await emptyTree('pause');
  const compiler = (await which('musl-gcc')) ?? 'gcc';
  const flags = ['-static', '-Os', '-s', '-Wall', '-Wextra'];
  const source = join(IMAGE_FILES, 'pause.c');
  await run([compiler, ...flags, '-o', join(root, 'pause'), source]);
  await importTree(root, reference, key, ['ENTRYPOINT ["/pause"]', 'USER 65535:65535']);
}

async function emptyTree(name: string): Promise<string> {
  const root = join(CACHE, 'contexts', name);
  await rm(root, { recursive: true, force: true });
  await mkdir(root, { recursive: true });
  return root;
}

async function importTree(
  root: string,
  reference: string,
  key: string,
  changes: readonly string[],
): Promise<void> {
  const tar = `${root}.tar`;
  const owner = ['--owner=0', '--group=0', '--numeric-owner'];
  await run(['tar', '--create', ...owner, '--file', tar, '--directory', root, '.']);
  await importTar(tar, reference, key, changes);
  await rm(root, { recursive: true, force: true });
  await rm(tar);
}
