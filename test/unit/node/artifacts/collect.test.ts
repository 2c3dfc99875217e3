import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { collect } from '../../../../src/node/artifacts/collect.ts';
import { takeInventory } from '../../../../src/node/artifacts/inventory.ts';
import { beginPartial, completeVersion } from '../../../../src/node/artifacts/version.ts';
import type { Host } from '../../../../src/node/host/host.ts';
import type { NamedRevision } from '../../../../src/node/transaction/state.ts';
import { snapshot, temporaryHost } from '../fixtures/host.ts';

const signal = new AbortController().signal;
const OLD = '0123456789abcdef0123';
const OLDER = 'fedcba9876543210fedc';
const ACTIVE = 'aaaaaaaaaaaaaaaaaaaa';
const NAMED: readonly NamedRevision[] = [{ role: 'active', revision: 'r3', digest: ACTIVE }];

/** Three versions and the revision of each: r1 of the oldest one, r3 is active. */
async function hostWithVersions(): Promise<Host> {
  const host = await temporaryHost();
  await mkdir(host.at('/opt/kata/versions'), { recursive: true });
  for (const [index, digest] of [OLDER, OLD, ACTIVE].entries()) {
    await beginPartial(host, digest);
    await put(host, `/opt/kata/versions/${digest}.partial/bin/x`, 'x');
    await completeVersion(host, {
      manifestVersion: 1,
      digest,
      version: '4.1.0',
      sizeBytes: 0,
      entries: [],
      archives: [],
    });
    const configuration = `/opt/kata/revisions/r${index + 1}/kata-fc/configuration.toml`;
    await put(host, configuration, `path = "/opt/kata/versions/${digest}/bin/x"\n`);
  }
  await put(host, '/proc/1/cmdline', 'init');
  return host;
}

async function put(host: Host, path: string, content: string): Promise<void> {
  await mkdir(dirname(host.at(path)), { recursive: true });
  await writeFile(host.at(path), content);
}

async function putLink(host: Host, path: string, target: string): Promise<void> {
  await mkdir(dirname(host.at(path)), { recursive: true });
  await symlink(target, host.at(path));
}

const collected = (host: Host, named = NAMED, deadline = signal) =>
  collect({ host, named, signal, deadline });

async function left(host: Host): Promise<{ versions: string[]; revisions: string[] }> {
  const names = async (path: string): Promise<string[]> => (await readdir(host.at(path))).sort();
  return {
    versions: await names('/opt/kata/versions'),
    revisions: await names('/opt/kata/revisions'),
  };
}

const ALL = { versions: [OLD, ACTIVE, OLDER], revisions: ['r1', 'r2', 'r3'] };

describe('collecting versions and revisions', () => {
  it('removes those that nothing refers to, and keeps those that the state leads to', async () => {
    const host = await hostWithVersions();
    expect(await collected(host)).toMatchObject({ left: [], unreadable: [], failures: [] });
    expect(await left(host)).toEqual({ versions: [ACTIVE], revisions: ['r3'] });
  });

  const file = `/opt/kata/versions/${OLD}/bin/x`;
  const tasks = 'io.containerd.runtime.v2.task/k8s.io';
  it.each<[string, (host: Host) => Promise<void>]>([
    ['a shim runs from it', (host) => putLink(host, '/proc/7/exe', file)],
    [
      'what runs from it was replaced since',
      (host) => putLink(host, '/proc/7/exe', `${file} (deleted)`),
    ],
    [
      'a VMM has its kernel as an argument',
      (host) => put(host, '/proc/7/cmdline', `qemu\0-kernel\0${file}\0`),
    ],
    [
      'a VMM has mapped its image',
      (host) => put(host, '/proc/7/maps', `7f00-7f01 r--p 0 fe:00 1 ${file}\n`),
    ],
    ['a VMM has its image open', (host) => putLink(host, '/proc/7/fd/9', file)],
    [
      'its kernel is mounted in the jail of a VMM',
      (host) => put(host, '/proc/7/mountinfo', `36 35 8:1 ${file} /run/jail/vmlinux ro - ext4 x\n`),
    ],
    [
      'it is seen from another mount namespace',
      (host) => putLink(host, '/proc/7/exe', `/kata/versions/${OLD}/bin/x`),
    ],
    [
      'the Go runtime keeps a sandbox of it',
      (host) => put(host, '/run/vc/sbs/s1/persist.json', `{"KernelPath":"${file}"}`),
    ],
    [
      'the Rust runtime keeps a sandbox of it',
      (host) => put(host, '/run/kata/s1/state.json', `{"path":"${file}"}`),
    ],
    [
      'containerd keeps the path of its shim',
      (host) => put(host, `/run/containerd/${tasks}/s1/shim-binary-path`, file),
    ],
    [
      'the containerd of k3s keeps the path of its shim',
      (host) => put(host, `/run/k3s/containerd/${tasks}/s1/shim-binary-path`, file),
    ],
  ])('keeps a version, with the configuration it was started with, when %s', async (_, refer) => {
    const host = await hostWithVersions();
    await refer(host);
    expect(await collected(host)).toMatchObject({ unreadable: [], failures: [] });
    expect(await left(host)).toEqual({ versions: [OLD, ACTIVE], revisions: ['r2', 'r3'] });
  });

  it('keeps a revision that a process names, and the version that it is configured for', async () => {
    const host = await hostWithVersions();
    const configuration = '/opt/kata/revisions/r2/kata-fc/configuration.toml';
    await put(host, '/proc/7/cmdline', `shim\0-config\0${configuration}\0`);
    await collected(host);
    expect(await left(host)).toEqual({ versions: [OLD, ACTIVE], revisions: ['r2', 'r3'] });
  });

  it('does not take the end of a longer name for a revision, nor files of containers for state', async () => {
    const host = await hostWithVersions();
    await put(host, '/proc/7/cmdline', 'vi\0/srv/revisions/r22/notes\0');
    await put(host, `/run/containerd/${tasks}/s1/rootfs/notes`, file);
    await put(host, '/run/kata/s1/shared/notes', file);
    await collected(host);
    expect(await left(host)).toEqual({ versions: [ACTIVE], revisions: ['r3'] });
  });

  it('collects earlier revisions of the active version, though something runs from it', async () => {
    const host = await hostWithVersions();
    const text = `path = "/opt/kata/versions/${ACTIVE}/bin/x"\n`;
    await put(host, '/opt/kata/revisions/r1/kata-fc/configuration.toml', text);
    await putLink(host, '/proc/7/exe', `/opt/kata/versions/${ACTIVE}/bin/x`);
    await collected(host);
    expect(await left(host)).toEqual({ versions: [ACTIVE], revisions: ['r3'] });
  });

  it('ends what an interrupted run has left, also when nothing else is to be done', async () => {
    const host = await hostWithVersions();
    await collected(host);
    const before = await snapshot(host.root);
    await put(host, `/opt/kata/versions/${OLD}.partial/bin/x`, 'half');
    await put(host, `/opt/kata/versions/${OLD}.damaged.partial/bin/x`, 'half');
    await put(host, '/opt/kata/revisions/r1.partial/kata-fc/configuration.toml', 'half');
    await collected(host);
    expect(await snapshot(host.root)).toEqual(before);
  });

  it('keeps a revision that the state leads to, whatever its name', async () => {
    const host = await hostWithVersions();
    const named = { role: 'active', revision: 'odd.partial', digest: ACTIVE } as const;
    await put(host, '/opt/kata/revisions/odd.partial/kata-fc/configuration.toml', '');
    await collected(host, [named]);
    expect((await left(host)).revisions).toEqual(['odd.partial']);
  });

  it('touches nothing that is none of ours below its directories', async () => {
    const host = await hostWithVersions();
    await put(host, '/opt/kata/versions/README', 'of an administrator');
    await mkdir(host.at('/opt/kata/versions/4.1.0'));
    await collected(host);
    expect((await left(host)).versions).toEqual(['4.1.0', 'README', ACTIVE]);
  });

  it('removes nothing where it cannot read what a process has', async () => {
    const host = await hostWithVersions();
    await mkdir(host.at('/proc/7/maps'), { recursive: true });
    expect(await collected(host)).toMatchObject({ removed: [], unreadable: ['/proc/7/maps'] });
    expect(await left(host)).toEqual(ALL);
  });

  it('removes nothing where there are no processes to see', async () => {
    const host = await hostWithVersions();
    const empty = { ...host, at: (path: string) => host.at(path.replace('/proc', '/none')) };
    expect(await collected(empty)).toMatchObject({ removed: [], unreadable: ['/proc'] });
    expect(await left(host)).toEqual(ALL);
  });

  it('takes the names away and leaves the rest to the next run when there is no time', async () => {
    const host = await hostWithVersions();
    const deadline = new AbortController();
    // Aborted as soon as the first name is gone.
    const slow: Host = {
      ...host,
      at: (path) => {
        if (path.endsWith('.partial')) deadline.abort();
        return host.at(path);
      },
    };
    const { left: rest } = await collected(slow, NAMED, deadline.signal);
    expect(rest).toHaveLength(4);
    expect((await takeInventory(host, NAMED, signal)).versions.map(({ name }) => name)).toEqual([
      ACTIVE,
    ]);
    expect((await collected(host)).removed.toSorted()).toEqual(rest.toSorted());
    expect(await left(host)).toEqual({ versions: [ACTIVE], revisions: ['r3'] });
  });

  it('removes the rest when one of them cannot be removed, and tells which', async () => {
    const host = await hostWithVersions();
    const spoiled: Host = {
      ...host,
      at: (path) => host.at(path === `/opt/kata/versions/${OLD}.partial` ? '/opt/kata/\0' : path),
    };
    const { failures } = await collected(spoiled);
    expect(failures.map(({ message }) => message)).toEqual([
      expect.stringContaining(`/opt/kata/versions/${OLD}`),
    ]);
    expect(await left(host)).toEqual({ versions: [OLD, ACTIVE], revisions: ['r3'] });
  });
});

describe('the inventory', () => {
  it('says what each version is kept for', async () => {
    const host = await hostWithVersions();
    await putLink(host, '/proc/7/exe', join('/opt/kata/versions', OLD, 'bin/qemu'));
    const { versions, revisions } = await takeInventory(host, NAMED, signal);
    expect(versions).toEqual([
      { name: OLD, keptFor: ['used by qemu (pid 7)'] },
      { name: ACTIVE, keptFor: ['active'] },
      { name: OLDER, keptFor: [] },
    ]);
    expect(revisions.map(({ name, keptFor }) => [name, keptFor.length])).toEqual([
      ['r1', 0],
      ['r2', 1],
      ['r3', 1],
    ]);
  });

  it('looks at no process when the state leads to everything', async () => {
    const host = await hostWithVersions();
    await collected(host);
    const blind: Host = {
      ...host,
      at: (path) => {
        if (path.startsWith('/proc')) throw new Error('looked');
        return host.at(path);
      },
    };
    expect((await takeInventory(blind, NAMED, signal)).versions).toHaveLength(1);
  });
});
