/**
 * The Docker images of a cluster, made without a registry: one Debian root file system, the binaries of
 * components.ts, and the files of image/.
 *
 * Owns the tags below kata-operator-e2e/. It must never rebuild an image whose ingredients did not change.
 */
import { createHash } from 'node:crypto';
import { access, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { componentKey, type ComponentName } from './components.ts';
import { debootstrapTar } from './debian.ts';
import { imageKey, removeReplacedImages } from './docker.ts';
import { buildSystemImage, importBusybox, importPause, importTar } from './imageBuild.ts';
import { withLock } from './lock.ts';
import { CACHE, IMAGE_FILES } from './paths.ts';
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
const BASE_KEY = digest(['base', BASE_PACKAGES]);
const ROOT_TAR = join(CACHE, `rootfs-${BASE_KEY.slice(0, 12)}.tar`);

interface SystemImage {
  /** Of `image/<name>.Dockerfile`. */
  readonly name: string;
  readonly reference: string;
  readonly base: string;
  /** The folder of image/ that it copies from. */
  readonly files: string;
  readonly component: ComponentName;
  readonly binaries: readonly string[];
}

/** Each after the one that it is based on. */
const SYSTEM_IMAGES: readonly SystemImage[] = [
  {
    name: 'node-1.7',
    reference: IMAGES.node17,
    base: IMAGES.base,
    files: 'node',
    component: 'kubernetes',
    binaries: ['kubelet', 'kube-proxy'],
  },
  {
    name: 'node-2.4',
    reference: IMAGES.node24,
    base: IMAGES.node17,
    files: 'node',
    component: 'containerd',
    binaries: ['containerd', 'containerd-shim-runc-v2', 'ctr'],
  },
  {
    name: 'control-plane',
    reference: IMAGES.controlPlane,
    base: IMAGES.base,
    files: 'control-plane',
    component: 'kubernetes',
    binaries: ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'etcd'],
  },
];

/** Builds the images that are missing or out of date; needs the components built before. */
export async function buildImages(progress: Progress, signal?: AbortSignal): Promise<void> {
  await prepareRootFileSystem(progress, signal);
  await withLock(join(CACHE, 'images.lock'), async () => {
    const ensure = async (
      reference: string,
      key: string,
      make: () => Promise<void>,
    ): Promise<void> => {
      if ((await imageKey(reference)) === key) return;
      await progress.step(`image ${reference}`, make);
      await removeReplacedImages();
    };
    await ensure(IMAGES.base, BASE_KEY, () =>
      importTar(ROOT_TAR, IMAGES.base, BASE_KEY, ['ENV container=docker', 'CMD ["/sbin/init"]']),
    );
    const keys = new Map<string, string>([[IMAGES.base, BASE_KEY]]);
    for (const image of SYSTEM_IMAGES) {
      const key = await systemImageKey(image, keys.get(image.base) ?? '');
      keys.set(image.reference, key);
      await ensure(image.reference, key, () => buildSystemImage({ ...image, key }));
    }
    const busyboxKey = digest(['busybox']);
    await ensure(IMAGES.busybox, busyboxKey, () =>
      importBusybox(IMAGES.busybox, busyboxKey, signal),
    );
    const pauseKey = await fileKey('pause.c');
    await ensure(IMAGES.pause, pauseKey, () => importPause(IMAGES.pause, pauseKey));
  });
}

/**
 * Makes the root file system of the images where it is missing. It waits for network and disk more than
 * for the processor: a good companion of the builds.
 */
export async function prepareRootFileSystem(
  progress: Progress,
  signal?: AbortSignal,
): Promise<void> {
  if ((await imageKey(IMAGES.base)) === BASE_KEY) return;
  await withLock(join(CACHE, 'rootfs.lock'), async () => {
    const isThere = await access(ROOT_TAR).then(
      () => true,
      () => false,
    );
    if (isThere) return;
    await progress.step('Debian root file system', () =>
      debootstrapTar('trixie', BASE_PACKAGES, ROOT_TAR, signal),
    );
  });
}

async function systemImageKey(image: SystemImage, baseKey: string): Promise<string> {
  const binaries = [await componentKey(image.component)];
  if (image.binaries.includes('etcd')) binaries.push(await componentKey('etcd'));
  const names = (await readdir(join(IMAGE_FILES, image.files))).sort();
  const files = names.map((name) => join(image.files, name)).concat(`${image.name}.Dockerfile`);
  return digest([baseKey, binaries, files, await Promise.all(files.map(fileKey))]);
}

async function fileKey(name: string): Promise<string> {
  return digest([await readFile(join(IMAGE_FILES, name), 'utf8')]);
}

function digest(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}
