/**
 * The operator's own images, built on this machine without a registry.
 *
 * Owns the local references and the base image, which is made of Debian packages: only what Node.js
 * links to. It must never leave an image under its name whose ingredients have changed since.
 */
import { createHash } from 'node:crypto';
import { cp, link, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { layOutImage, nodeBinary, type ImageName } from '../build/imageTree.ts';
import { unpackedPackages } from './cluster/debian.ts';
import { ensureDocker, imageKey, KEY_LABEL } from './cluster/docker.ts';
import { withLock } from './cluster/lock.ts';
import { CACHE, REPOSITORY } from './cluster/paths.ts';
import { output, run } from './cluster/process.ts';
import { Progress, type Log } from './cluster/progress.ts';
import { artifactsDirectory, packArchives } from './standin/pack.ts';

export interface BuildImagesOptions {
  readonly log: Log;
  /** Which stand-in artifacts are bundled in the node image. */
  readonly artifacts: 'small' | 'full';
  /** Also build the node image without archives. Default: no. */
  readonly slim?: boolean;
  readonly signal?: AbortSignal;
}

/** References of images that the local Docker Engine holds. */
export interface OperatorImageReferences {
  readonly node: string;
  readonly controller: string;
  /** The same node image with no archive bundled, if asked for: for artifacts from a URL or the host. */
  readonly nodeWithoutArtifacts?: string;
}

const BASE = 'kata-operator-base:local';
const BASE_PACKAGES = ['libc6', 'libstdc++6', 'libgcc-s1'];
const BUILD_TIMEOUT_MS = 10 * 60_000;

/** Builds what is missing or out of date; with nothing to do it takes about a second. */
export async function buildImages(options: BuildImagesOptions): Promise<OperatorImageReferences> {
  const { log, artifacts, slim = false, signal } = options;
  const progress = new Progress(log);
  await ensureDocker(progress);
  await packArchives({ kind: artifacts, progress, ...(signal === undefined ? {} : { signal }) });
  const references: OperatorImageReferences = {
    node: artifacts === 'small' ? 'kata-operator-node:local' : 'kata-operator-node:local-full',
    controller: 'kata-operator-controller:local',
    ...(slim ? { nodeWithoutArtifacts: 'kata-operator-node:local-slim' } : {}),
  };
  await withLock(join(CACHE, 'operator-images.lock'), async () => {
    const base = await buildBase(progress, signal);
    const source = await sourceKey();
    const bundled = artifactsDirectory(artifacts);
    const { node, controller, nodeWithoutArtifacts } = references;
    await buildImage(progress, { image: 'node', reference: node, base, source, bundled });
    if (nodeWithoutArtifacts !== undefined) {
      await buildImage(progress, { image: 'node', reference: nodeWithoutArtifacts, base, source });
    }
    await buildImage(progress, { image: 'controller', reference: controller, base, source });
  });
  return references;
}

interface ImageBuild {
  readonly image: ImageName;
  readonly reference: string;
  /** Key of the base image. */
  readonly base: string;
  /** Key of everything that a bundle may be made from. */
  readonly source: string;
  /** Directory of archives with their index. */
  readonly bundled?: string;
}

async function buildImage(progress: Progress, build: ImageBuild): Promise<void> {
  const { image, reference, bundled } = build;
  const index =
    bundled === undefined ? EMPTY_INDEX : await readFile(join(bundled, 'index.json'), 'utf8');
  const dockerfile = join(REPOSITORY, DOCKERFILES[image]);
  const recipe = await readFile(dockerfile, 'utf8');
  const key = digest([build.base, build.source, index, recipe]);
  if ((await imageKey(reference)) === key) return;
  await progress.step(`image ${reference}`, async () => {
    const context = join(CACHE, 'contexts', `operator-${image}`);
    await rm(context, { recursive: true, force: true });
    await layOutImage(image, context);
    await addArtifacts(join(context, 'artifacts'), index, bundled);
    await run(
      [
        ...['docker', 'build', '--network', 'none', '--file', dockerfile],
        ...['--target', 'prebuilt', '--tag', reference],
        ...['--build-arg', `BASE_IMAGE=${BASE}`, '--label', `${KEY_LABEL}=${key}`, context],
      ],
      // The classic builder needs no plugin and takes a local base image as it is.
      { env: { DOCKER_BUILDKIT: '0' }, timeoutMs: BUILD_TIMEOUT_MS },
    );
    await rm(context, { recursive: true, force: true });
  });
}

const DOCKERFILES: Readonly<Record<ImageName, string>> = {
  node: 'daemonset-image/Dockerfile',
  controller: 'controller-image/Dockerfile',
};

const EMPTY_INDEX = `${JSON.stringify({ archives: [] })}\n`;

async function addArtifacts(directory: string, index: string, bundled?: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'index.json'), index);
  const files = bundled === undefined ? [] : await readdir(bundled);
  for (const file of files.filter((name) => name !== 'index.json')) {
    await link(join(bundled ?? '', file), join(directory, file));
  }
}

/** Imports the base image: the loader, the libraries Node.js names, and a user. Returns its key. */
async function buildBase(progress: Progress, signal?: AbortSignal): Promise<string> {
  const libraries = await neededLibraries();
  const key = digest(['base', BASE_PACKAGES, libraries, PASSWD, GROUP]);
  if ((await imageKey(BASE)) === key) return key;
  await progress.step(`image ${BASE}`, async () => {
    const packages = await unpackedPackages('trixie', BASE_PACKAGES, signal);
    const root = join(CACHE, 'contexts/operator-base');
    await rm(root, { recursive: true, force: true });
    await layOutBase(root, packages, libraries);
    const tar = `${root}.tar`;
    const owner = ['--owner=0', '--group=0', '--numeric-owner', '--sort=name'];
    await run(['tar', '--create', ...owner, '--file', tar, '--directory', root, '.']);
    await run(['docker', 'import', '--change', `LABEL ${KEY_LABEL}=${key}`, tar, BASE]);
    await rm(root, { recursive: true });
    await rm(tar);
  });
  return key;
}

const PASSWD = 'root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/:/none\n';
const GROUP = 'root:x:0:\nnonroot:x:65532:\n';

async function layOutBase(
  root: string,
  packages: string,
  libraries: readonly string[],
): Promise<void> {
  const directories = ['etc', 'tmp', 'usr/lib'];
  for (const directory of directories) await mkdir(join(root, directory), { recursive: true });
  await writeFile(join(root, 'etc/passwd'), PASSWD);
  await writeFile(join(root, 'etc/group'), GROUP);
  // Debian's layout since /usr is merged: programs name their loader by the short paths.
  for (const name of ['lib', 'lib64']) await symlink(`usr/${name}`, join(root, name));
  const found = await readdir(join(packages, 'usr'), { recursive: true });
  for (const path of found) {
    const name = path.split('/').at(-1) ?? '';
    if (!path.startsWith('lib') || !libraries.some((library) => isVersionOf(name, library)))
      continue;
    await cp(join(packages, 'usr', path), join(root, 'usr', path), { verbatimSymlinks: true });
  }
}

/** `libstdc++.so.6` is a link to `libstdc++.so.6.0.33`. */
const isVersionOf = (file: string, library: string): boolean =>
  file === library || file.startsWith(`${library}.`);

/** File names of the libraries and of the loader that the Node.js binary asks for. */
async function neededLibraries(): Promise<string[]> {
  const listing = await output(['ldd', nodeBinary()]);
  const names = [...listing.matchAll(/^\s*(?:\S*\/)?([^\s/]+\.so[^\s]*)/gm)].map(
    (match) => match[1] ?? '',
  );
  return names.filter((name) => !name.startsWith('linux-vdso')).sort();
}

/** Changes when a bundle or the helper may: hashed without building anything. */
async function sourceKey(): Promise<string> {
  const hash = createHash('sha256').update(`node ${process.version}`);
  for (const directory of ['src', 'build', 'daemonset-image/helper']) {
    const paths = (await readdir(join(REPOSITORY, directory), { recursive: true })).sort();
    for (const path of paths.filter((name) => /\.(ts|c|json|yaml|toml)$/.test(name))) {
      hash
        .update(`${directory}/${path}\0`)
        .update(await readFile(join(REPOSITORY, directory, path)));
    }
  }
  hash.update(await readFile(join(REPOSITORY, 'package-lock.json')));
  return hash.digest('hex');
}

const digest = (parts: readonly unknown[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);

if (import.meta.main) {
  const artifacts = process.argv[2] === 'full' ? 'full' : 'small';
  console.log(JSON.stringify(await buildImages({ log: console.error, artifacts }), undefined, 2));
}
