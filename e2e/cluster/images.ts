/**
 * The Docker images of a cluster, made without a registry: one Debian root file system, the binaries of
 * components.ts, and the files of image/.
 *
 * Owns the tags below kata-operator-e2e/. It must never rebuild an image whose ingredients did not change.
 */
import { createHash } from 'node:crypto';
import { access, chmod, copyFile, cp, link, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { componentKey } from './components.ts';
import { debootstrapTar, unpackedPackages } from './debian.ts';
import { imageKey, KEY_LABEL } from './docker.ts';
import { withLock } from './lock.ts';
import { BIN, CACHE, IMAGE_FILES } from './paths.ts';
import { run, which } from './process.ts';
import type { Progress } from './progress.ts';

export const IMAGES = {
  base: 'kata-operator-e2e/base:local',
  controlPlane: 'kata-operator-e2e/control-plane:local',
  node17: 'kata-operator-e2e/node-1.7:local',
  node24: 'kata-operator-e2e/node-2.4:local',
  busybox: 'kata-operator-e2e/busybox:local',
  pause: 'kata-operator-e2e/pause:local',
} as const;

const BASE_PACKAGES = [
  ...['systemd', 'systemd-sysv', 'dbus', 'containerd', 'runc', 'iproute2', 'iptables', 'conntrack'],
  ...['procps', 'kmod', 'mount', 'ca-certificates', 'containernetworking-plugins', 'e2fsprogs'],
];

/** Builds the images that are missing or out of date; needs the components built before. */
export async function buildImages(progress: Progress, signal?: AbortSignal): Promise<void> {
  await withLock(join(CACHE, 'images.lock'), async () => {
    const baseKey = digest(['base', BASE_PACKAGES]);
    const kubernetes = await componentKey('kubernetes');
    const node17 = digest([
      baseKey,
      kubernetes,
      await filesKey('node'),
      await fileKey('node-1.7.Dockerfile'),
    ]);
    const node24 = digest([
      node17,
      await componentKey('containerd'),
      await fileKey('node-2.4.Dockerfile'),
    ]);
    const controlPlane = digest([
      ...[baseKey, kubernetes, await componentKey('etcd')],
      ...[await filesKey('control-plane'), await fileKey('control-plane.Dockerfile')],
    ]);
    const images: [string, string, () => Promise<void>][] = [
      [IMAGES.base, baseKey, () => importBase(baseKey, signal)],
      [
        IMAGES.node17,
        node17,
        () =>
          dockerBuild('node-1.7', IMAGES.base, IMAGES.node17, node17, ['kubelet', 'kube-proxy']),
      ],
      [
        IMAGES.node24,
        node24,
        () =>
          dockerBuild('node-2.4', IMAGES.node17, IMAGES.node24, node24, [
            'containerd',
            'containerd-shim-runc-v2',
            'ctr',
          ]),
      ],
      [
        IMAGES.controlPlane,
        controlPlane,
        () =>
          dockerBuild('control-plane', IMAGES.base, IMAGES.controlPlane, controlPlane, [
            'etcd',
            'kube-apiserver',
            'kube-controller-manager',
            'kube-scheduler',
          ]),
      ],
      [IMAGES.busybox, digest(['busybox']), () => importBusybox(signal)],
      [IMAGES.pause, await fileKey('pause.c'), importPause],
    ];
    for (const [reference, key, build] of images) {
      if ((await imageKey(reference)) === key) continue;
      await progress.step(`image ${reference}`, build);
    }
  });
}

const digest = (parts: readonly unknown[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);

async function fileKey(name: string): Promise<string> {
  return digest([await readFile(join(IMAGE_FILES, name), 'utf8')]);
}

async function filesKey(directory: string): Promise<string> {
  const names = (await readdir(join(IMAGE_FILES, directory))).sort();
  const keys = await Promise.all(names.map((name) => fileKey(join(directory, name))));
  return digest([names, keys]);
}

async function importBase(key: string, signal?: AbortSignal): Promise<void> {
  const tar = join(CACHE, `rootfs-${key.slice(0, 12)}.tar`);
  const cached = await access(tar).then(
    () => true,
    () => false,
  );
  if (!cached) await debootstrapTar('trixie', BASE_PACKAGES, tar, signal);
  const changes = ['ENV container=docker', 'CMD ["/sbin/init"]'];
  await dockerImport(tar, IMAGES.base, key, changes);
}

async function dockerImport(
  tar: string,
  reference: string,
  key: string,
  changes: readonly string[],
): Promise<void> {
  const all = [`LABEL ${KEY_LABEL}=${key}`, ...changes].flatMap((change) => ['--change', change]);
  await run(['docker', 'import', ...all, tar, reference], { timeoutMs: 5 * 60_000 });
}

/** Builds `image/<name>.Dockerfile` with some of our binaries in `bin/` of its context. */
async function dockerBuild(
  name: string,
  base: string,
  reference: string,
  key: string,
  binaries: readonly string[],
): Promise<void> {
  const context = join(CACHE, 'contexts', name);
  await rm(context, { recursive: true, force: true });
  await mkdir(join(context, 'bin'), { recursive: true });
  for (const directory of ['node', 'control-plane']) {
    await cp(join(IMAGE_FILES, directory), join(context, directory), { recursive: true });
  }
  for (const binary of binaries) await link(join(BIN, binary), join(context, 'bin', binary));
  const dockerfile = join(IMAGE_FILES, `${name}.Dockerfile`);
  await run(
    [
      ...['docker', 'build', '--file', dockerfile, '--tag', reference],
      ...['--build-arg', `BASE=${base}`, '--label', `${KEY_LABEL}=${key}`, context],
    ],
    // The classic builder needs no plugin and takes a local base image as it is.
    { env: { DOCKER_BUILDKIT: '0' }, timeoutMs: 10 * 60_000 },
  );
  await rm(context, { recursive: true, force: true });
}

async function importBusybox(signal?: AbortSignal): Promise<void> {
  const unpacked = await unpackedPackages('trixie', ['busybox-static'], signal);
  const root = join(CACHE, 'contexts/busybox');
  await rm(root, { recursive: true, force: true });
  for (const directory of ['bin', 'etc', 'tmp', 'root', 'var', 'dev', 'proc', 'sys']) {
    await mkdir(join(root, directory), { recursive: true });
  }
  await chmod(join(root, 'tmp'), 0o1777);
  const binary = join(root, 'bin/busybox');
  const found = [join(unpacked, 'usr/bin/busybox'), join(unpacked, 'bin/busybox')];
  await copyFile(found[0] ?? '', binary).catch(() => copyFile(found[1] ?? '', binary));
  await chmod(binary, 0o755);
  const applets = (await run([binary, '--list'])).stdout.toString('utf8').split('\n');
  for (const applet of applets.filter((name) => name !== '' && name !== 'busybox')) {
    await link(binary, join(root, 'bin', applet));
  }
  await importTree(root, IMAGES.busybox, digest(['busybox']), ['ENV PATH=/bin', 'CMD ["sh"]']);
}

async function importPause(): Promise<void> {
  const root = join(CACHE, 'contexts/pause');
  await rm(root, { recursive: true, force: true });
  await mkdir(root, { recursive: true });
  const compiler = (await which('musl-gcc')) ?? 'gcc';
  const source = join(IMAGE_FILES, 'pause.c');
  await run([
    compiler,
    '-static',
    '-Os',
    '-s',
    '-Wall',
    '-Wextra',
    '-o',
    join(root, 'pause'),
    source,
  ]);
  await importTree(root, IMAGES.pause, await fileKey('pause.c'), [
    'ENTRYPOINT ["/pause"]',
    'USER 65535:65535',
  ]);
}

async function importTree(
  root: string,
  reference: string,
  key: string,
  changes: readonly string[],
): Promise<void> {
  const tar = `${root}.tar`;
  await run([
    'tar',
    '--create',
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--file',
    tar,
    '--directory',
    root,
    '.',
  ]);
  await dockerImport(tar, reference, key, changes);
  await rm(root, { recursive: true, force: true });
  await rm(tar);
}
