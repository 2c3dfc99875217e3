import { chmod, link, mkdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Host } from '../../../../src/node/host/host.ts';
import { findReusable, mayBeShared } from '../../../../src/node/artifacts/reuse.ts';
import { readManifest, versionPath } from '../../../../src/node/artifacts/version.ts';
import { verifyVersion } from '../../../../src/node/artifacts/verifyVersion.ts';
import { stage } from '../../../../src/node/stages/stage.ts';
import { kataTree, sha256, tar, treeEntries, zst, type TreeFile } from '../fixtures/archives.ts';
import {
  contextOf,
  planOf,
  snapshot,
  temporaryDirectory,
  temporaryHost,
} from '../fixtures/host.ts';

const signal = new AbortController().signal;
const IMAGE = 'share/kata-containers/kata-containers.img';
const SHIM = 'bin/containerd-shim-kata-v2';
const CONFIGURATION = 'share/defaults/kata-containers/configuration-fc.toml';

type Tree = Record<string, TreeFile>;

/** A release as two archives: what a runtime is, and the guest. */
function components(change: Tree = {}): [runtime: Tree, guest: Tree] {
  const tree = { ...kataTree(), ...change };
  const isGuest = (path: string): boolean => path.startsWith('share/kata-containers/');
  const part = (wanted: boolean): Tree =>
    Object.fromEntries(Object.entries(tree).filter(([path]) => isGuest(path) === wanted));
  return [part(false), part(true)];
}

async function archivesIn(trees: readonly Tree[]): Promise<string> {
  const directory = await temporaryDirectory();
  const archives = [];
  for (const [index, tree] of trees.entries()) {
    const bytes = zst(await tar(treeEntries(tree)));
    const file = `component-${index}.tar.zst`;
    await writeFile(join(directory, file), bytes);
    archives.push({ file, sha256: sha256(bytes), sizeBytes: bytes.length, unpackedBytes: 400_000 });
  }
  await writeFile(join(directory, 'index.json'), JSON.stringify({ archives }));
  return directory;
}

async function install(host: Host, bundleDirectory: string, revision = 'r1') {
  const result = await stage(contextOf(host, { bundleDirectory, plan: planOf({ revision }) }));
  expect(result.error).toBeUndefined();
  const digest = result.facts.artifacts?.digest ?? '';
  return { digest, bytesWritten: result.bytesWritten, at: host.at(versionPath(digest)) };
}

const inode = async (path: string): Promise<number> => (await stat(path)).ino;

const NEW_RUNTIME = {
  [SHIM]: {
    mode: 0o755,
    content: Buffer.concat([kataTree()[SHIM]?.content as Buffer, Buffer.from('2')]),
  },
};

describe('an upgrade', () => {
  it('links what an unchanged archive gave, and does not even open that archive', async () => {
    const host = await temporaryHost();
    const first = await install(host, await archivesIn(components()));
    const directory = await archivesIn(components(NEW_RUNTIME));
    await rm(join(directory, 'component-1.tar.zst'));
    const second = await install(host, directory, 'r2');
    expect(second.digest).not.toBe(first.digest);
    expect(await inode(join(second.at, IMAGE))).toBe(await inode(join(first.at, IMAGE)));
    expect(second.bytesWritten).toBeLessThan(10_000);
    expect(await verifyVersion(host, second.digest, signal)).toEqual([]);
    expect(await readFile(join(second.at, 'share/kata-containers/vmlinux.container'), 'utf8')).toBe(
      'kernel',
    );
  });

  it('links an unchanged file of a changed archive, however small the change beside it', async () => {
    const host = await temporaryHost();
    const first = await install(host, await archivesIn([kataTree()]));
    const second = await install(host, await archivesIn([{ ...kataTree(), ...NEW_RUNTIME }]), 'r2');
    expect(await inode(join(second.at, IMAGE))).toBe(await inode(join(first.at, IMAGE)));
    expect(second.bytesWritten).toBeLessThan(10_000);
    expect(await verifyVersion(host, second.digest, signal)).toEqual([]);
  });

  it.each([
    ['its first byte', 0],
    ['a byte behind the first chunk', 2 * 1024 * 1024 + 5],
    ['its last byte', 3 * 1024 * 1024],
  ])('writes a large file anew that differs in %s', async (_, position) => {
    const host = await temporaryHost();
    const before = Buffer.alloc(3 * 1024 * 1024 + 1, 'guest');
    const after = Buffer.from(before);
    after[position] = 0;
    const first = await install(
      host,
      await archivesIn([{ ...kataTree(), [IMAGE]: { content: before } }]),
    );
    const second = await install(
      host,
      await archivesIn([{ ...kataTree(), [IMAGE]: { content: after } }]),
      'r2',
    );
    expect((await readFile(join(first.at, IMAGE))).equals(before)).toBe(true);
    expect((await readFile(join(second.at, IMAGE))).equals(after)).toBe(true);
    expect(await verifyVersion(host, second.digest, signal)).toEqual([]);
  });

  it('never shares a configuration file', async () => {
    const host = await temporaryHost();
    const first = await install(host, await archivesIn(components()));
    const second = await install(
      host,
      await archivesIn(components({ [IMAGE]: { content: Buffer.alloc(300_000, 'newer') } })),
      'r2',
    );
    expect(await inode(join(second.at, CONFIGURATION))).not.toBe(
      await inode(join(first.at, CONFIGURATION)),
    );
    expect((await snapshot(second.at))[CONFIGURATION]).toBe(
      (await snapshot(first.at))[CONFIGURATION],
    );
  });

  it.each([
    ['edited', (path: string) => writeFile(path, Buffer.alloc(300_000, 'damaged'))],
    ['cut off', (path: string) => writeFile(path, 'x')],
    ['gone', (path: string) => rm(path)],
    ['touched', (path: string) => utimes(path, 1, 1)],
  ])('does not spread a file that was %s in the earlier version', async (_, damage) => {
    const host = await temporaryHost();
    const first = await install(host, await archivesIn(components()));
    await damage(join(first.at, IMAGE));
    const second = await install(host, await archivesIn(components(NEW_RUNTIME)), 'r2');
    expect(await verifyVersion(host, second.digest, signal)).toEqual([]);
    expect(await readFile(join(second.at, IMAGE))).toEqual(kataTree()[IMAGE]?.content);
  });

  it('takes nothing from a version that is not complete', async () => {
    const host = await temporaryHost();
    const first = await install(host, await archivesIn(components()));
    await rm(join(first.at, '.complete'));
    const manifest = await readManifest(host, first.digest);
    expect(manifest).toBeUndefined();
    const reusable = await findReusable(host, ['a'.repeat(64)]);
    expect(reusable.archives.size).toBe(0);
    expect(reusable.twinOf(IMAGE, 300_000, 0o644)).toBeUndefined();
  });

  it('writes a file that cannot be linked any more', async () => {
    const host = await temporaryHost();
    const first = await install(host, await archivesIn(components()));
    await chmod(join(first.at, IMAGE), 0o600);
    const second = await install(host, await archivesIn(components(NEW_RUNTIME)), 'r2');
    expect((await stat(join(second.at, IMAGE))).mode & 0o777).toBe(0o644);
    expect(await inode(join(second.at, IMAGE))).not.toBe(await inode(join(first.at, IMAGE)));
  });

  it('finds what an earlier archive gave and a later one replaced', async () => {
    const host = await temporaryHost();
    const older = { 'share/x': { content: Buffer.alloc(200_000, 'older') } };
    const newer = { 'share/x': { content: Buffer.alloc(200_000, 'newer') } };
    const both = await install(host, await archivesIn([{ ...kataTree(), ...older }, newer]));
    const manifest = await readManifest(host, both.digest);
    expect(manifest?.archives[0]?.replaced).toMatchObject([{ path: 'share' }, { path: 'share/x' }]);
    // Its content is nowhere any more, so that the archive is unpacked again.
    const alone = await install(host, await archivesIn([{ ...kataTree(), ...older }]), 'r2');
    expect(await readFile(join(alone.at, 'share/x'), 'utf8')).toContain('older');
    expect(await inode(join(alone.at, IMAGE))).toBe(await inode(join(both.at, IMAGE)));
  });
});

describe('a file of a version', () => {
  it.each([
    ['share/kata-containers/vmlinux-6.18', 1_000_000, true],
    ['bin/firecracker', 1_000_000, true],
    ['bin/small', 100, false],
    [CONFIGURATION, 1_000_000, false],
    ['share/defaults/anything', 1_000_000, false],
    ['bin/kata-collect-data.sh', 1_000_000, false],
  ])('%s of %i bytes may be shared: %s', (path, sizeBytes, shared) => {
    expect(mayBeShared(path, sizeBytes)).toBe(shared);
  });

  it.each([
    [
      'changed',
      (at: string) => writeFile(join(at, 'bin/firecracker'), 'evil'),
      'bin/firecracker',
      'another content',
    ],
    ['missing', (at: string) => rm(join(at, SHIM)), SHIM, 'missing'],
    ['made writable', (at: string) => chmod(join(at, SHIM), 0o777), SHIM, 'another mode'],
    ['added', (at: string) => writeFile(join(at, 'bin/extra'), ''), 'bin/extra', 'unexpected'],
    [
      'another type',
      async (at: string) => {
        await rm(join(at, SHIM));
        await mkdir(join(at, SHIM));
      },
      SHIM,
      'another type',
    ],
    [
      'of one byte more',
      (at: string) => writeFile(join(at, IMAGE), Buffer.alloc(300_001)),
      IMAGE,
      'another content',
    ],
  ])('that is %s is found when the version is verified in full', async (_, damage, path, what) => {
    const host = await temporaryHost();
    const { digest, at } = await install(host, await archivesIn([kataTree()]));
    expect(await verifyVersion(host, digest, signal)).toEqual([]);
    await damage(at);
    expect(await verifyVersion(host, digest, signal)).toEqual([{ path, what }]);
  });

  it('with another name on the host is still what it was', async () => {
    const host = await temporaryHost();
    const { digest, at } = await install(host, await archivesIn([kataTree()]));
    await link(join(at, IMAGE), host.at('/opt/copy'));
    expect(await verifyVersion(host, digest, signal)).toEqual([]);
  });
});
