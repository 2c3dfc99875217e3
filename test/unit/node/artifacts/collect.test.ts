import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { collectVersions } from '../../../../src/node/artifacts/collect.ts';
import {
  completeVersion,
  beginPartial,
  listVersions,
} from '../../../../src/node/artifacts/version.ts';
import type { Host } from '../../../../src/node/host/host.ts';
import { temporaryHost } from '../fixtures/host.ts';

const signal = new AbortController().signal;
const OLD = '0123456789abcdef0123';
const OLDER = 'fedcba9876543210fedc';
const ACTIVE = 'aaaaaaaaaaaaaaaaaaaa';

async function hostWithVersions(...digests: string[]): Promise<Host> {
  const host = await temporaryHost();
  await mkdir(host.at('/opt/kata/versions'), { recursive: true });
  for (const digest of digests) {
    await beginPartial(host, digest);
    await completeVersion(host, {
      manifestVersion: 1,
      digest,
      version: '4.1.0',
      sizeBytes: 0,
      entries: [],
      archives: [],
    });
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

const left = async (host: Host): Promise<string[]> =>
  (await listVersions(host)).map(({ digest }) => digest).sort();

describe('collecting versions', () => {
  it('removes those that nothing refers to, and keeps those that the caller names', async () => {
    const host = await hostWithVersions(OLD, OLDER, ACTIVE);
    expect(await collectVersions(host, new Set([ACTIVE]), signal)).toEqual({
      removed: [OLD, OLDER],
      stillUsed: [],
      unreadable: [],
    });
    expect(await left(host)).toEqual([ACTIVE]);
  });

  const file = `/opt/kata/versions/${OLD}/bin/x`;
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
      (host) =>
        put(host, '/run/containerd/io.containerd.runtime.v2.task/k8s.io/s1/shim-binary-path', file),
    ],
    [
      'a revision is configured for it',
      (host) =>
        put(host, '/opt/kata/revisions/r1/kata-fc/configuration.toml', `path = "${file}"\n`),
    ],
    [
      'people find it as the current one',
      (host) => putLink(host, '/opt/kata/current', `versions/${OLD}`),
    ],
  ])('keeps a version when %s', async (_, refer) => {
    const host = await hostWithVersions(OLD, OLDER);
    await refer(host);
    expect(await collectVersions(host, new Set(), signal)).toEqual({
      removed: [OLDER],
      stillUsed: [OLD],
      unreadable: [],
    });
    expect(await left(host)).toEqual([OLD]);
  });

  it('removes nothing where it cannot see the processes', async () => {
    const host = await temporaryHost();
    await mkdir(host.at('/opt/kata/versions'), { recursive: true });
    await beginPartial(host, OLD);
    await completeVersion(host, {
      manifestVersion: 1,
      digest: OLD,
      version: '4.1.0',
      sizeBytes: 0,
      entries: [],
      archives: [],
    });
    expect(await collectVersions(host, new Set(), signal)).toEqual({
      removed: [],
      stillUsed: [],
      unreadable: ['/proc'],
    });
    expect(await left(host)).toEqual([OLD]);
  });

  it('removes nothing where it cannot read what a process has', async () => {
    const host = await hostWithVersions(OLD);
    await mkdir(host.at('/proc/7/maps'), { recursive: true });
    const { removed, unreadable } = await collectVersions(host, new Set(), signal);
    expect([removed, unreadable]).toEqual([[], ['/proc/7/maps']]);
  });
});
