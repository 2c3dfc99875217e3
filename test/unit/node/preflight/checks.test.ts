import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { KataError } from '../../../../src/errors.ts';
import { freeSpace, requireSpace } from '../../../../src/node/preflight/disk.ts';
import {
  mountOf,
  parseMountInfo,
  requireExecutable,
  requireWritable,
} from '../../../../src/node/preflight/mounts.ts';
import { stage } from '../../../../src/node/stages/stage.ts';
import { preflight } from '../../../../src/node/stages/preflight.ts';
import {
  FC,
  FileEngine,
  bundle,
  contextOf,
  planOf,
  snapshot,
  temporaryHost,
} from '../fixtures/host.ts';

const IMAGE_BASED = `21 1 253:0 / / ro,relatime shared:1 - composefs composefs rw
22 21 253:1 /var /var rw,relatime shared:2 - xfs /dev/vda4 rw
23 21 253:2 / /usr ro,relatime - xfs /dev/vda3 ro
24 21 0:5 / /mnt/with\\040space rw - tmpfs tmpfs rw
`;

describe('the mount table', () => {
  it('tells which mount a path lies on, and whether it can be written', () => {
    const mounts = parseMountInfo(IMAGE_BASED);
    expect(mountOf('/opt/kata', mounts)).toEqual({
      mountPoint: '/',
      readOnly: true,
      noExec: false,
      fileSystem: 'composefs',
    });
    expect(mountOf('/var/opt/kata', mounts)).toMatchObject({ mountPoint: '/var', readOnly: false });
    expect(mountOf('/various', mounts)?.mountPoint).toBe('/');
    expect(mountOf('/mnt/with space/x', mounts)?.fileSystem).toBe('tmpfs');
  });

  it('counts the last of several mounts on one directory, and a read-only super block', () => {
    const mounts = parseMountInfo(
      '1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /opt rw - ext4 /dev/sdb ro\n3 1 8:3 / /opt rw - xfs /dev/sdc rw\n',
    );
    expect(mountOf('/opt/kata', mounts)).toMatchObject({ fileSystem: 'xfs', readOnly: false });
    expect(mountOf('/opt/kata', mounts.slice(0, 2))).toMatchObject({ readOnly: true });
  });

  it('refuses a file system from which no program can be started', async () => {
    const host = await temporaryHost();
    await mkdir(host.at('/proc/1'), { recursive: true });
    const table =
      '1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /opt rw,nosuid,noexec - xfs /dev/sdb rw\n';
    await writeFile(host.at('/proc/1/mountinfo'), table);
    await expect(requireExecutable(host, '/opt/kata')).rejects.toMatchObject({
      code: 'KATA_E_NOT_EXECUTABLE',
      parameters: { mountPoint: '/opt' },
    });
    await expect(requireExecutable(host, '/var/lib')).resolves.toBeUndefined();
  });

  it('refuses a read-only /opt, and follows a link of the host to where it really is', async () => {
    const host = await temporaryHost();
    await mkdir(host.at('/proc/1'), { recursive: true });
    await writeFile(host.at('/proc/1/mountinfo'), IMAGE_BASED);
    await expect(requireWritable(host, ['/opt/kata'])).rejects.toMatchObject({
      code: 'KATA_E_NOT_WRITABLE',
      parameters: { path: '/opt/kata' },
    });
    await rm(host.at('/opt'), { recursive: true });
    await mkdir(host.at('/var/opt'), { recursive: true });
    await symlink('/var/opt', host.at('/opt'));
    await expect(requireWritable(host, ['/opt/kata'])).resolves.toBeUndefined();
  });
});

describe('free space', () => {
  it('is that of the nearest directory that exists', async () => {
    const host = await temporaryHost();
    const { path, freeBytes } = await freeSpace(host, '/opt/kata/versions');
    expect(path).toBe('/opt');
    expect(freeBytes).toBeGreaterThan(0);
  });

  it('that is short is refused with both figures', () => {
    expect(() => {
      requireSpace({ path: '/opt', freeBytes: 10 }, 11);
    }).toThrow(new KataError('KATA_E_DISK_SPACE', { path: '/opt', haveBytes: 10, needBytes: 11 }));
    expect(() => {
      requireSpace({ path: '/opt', freeBytes: 10, freeInodes: 3 }, 5);
    }).toThrow(/3 inodes are free/);
    expect(() => {
      requireSpace({ path: '/opt', freeBytes: 10, freeInodes: 3 }, 0);
    }).not.toThrow();
  });
});

describe('preflight', () => {
  const codes: readonly [string, Parameters<typeof contextOf>[1], string, string][] = [
    [
      'none of the runtimes exists for this architecture',
      { arch: 's390x' },
      'unsupported',
      'KATA_E_NO_RUNTIME',
    ],
    [
      'the image holds no artifacts',
      { bundleDirectory: '/nonexistent' },
      'refused',
      'KATA_E_ARTIFACT_NOT_FOUND',
    ],
    [
      'the path on the host does not exist',
      { plan: planOf({ artifacts: { kind: 'hostPath', path: '/srv/none' } }) },
      'refused',
      'KATA_E_ARTIFACT_NOT_FOUND',
    ],
    [
      'no archive is for this architecture',
      {
        plan: planOf({
          artifacts: {
            kind: 'sources',
            sources: [{ url: 'https://example.org/x', sha256: 'a'.repeat(64), arch: 'arm64' }],
          },
        }),
      },
      'refused',
      'KATA_E_ARTIFACT_NOT_FOUND',
    ],
  ];
  it.each(codes)('when %s, ends without a write', async (_, change, outcome, code) => {
    const host = await temporaryHost();
    const before = await snapshot(host.root);
    const result = await preflight(contextOf(host, { bundleDirectory: await bundle(), ...change }));
    expect(result).toMatchObject({ outcome, error: { code } });
    expect(await snapshot(host.root)).toEqual(before);
  });

  it('runs every check even when one fails, and prefers to say that the node cannot run Kata', async () => {
    const host = await temporaryHost();
    const seen: string[] = [];
    const result = await preflight(
      contextOf(host, {
        plan: planOf({ requireKVM: true }),
        probeKvm: () => Promise.resolve({ usable: false, cause: 'EACCES' }),
        observe: (step, event) => seen.push(`${step} ${event}`),
      }),
    );
    expect(result).toMatchObject({ outcome: 'unsupported', error: { code: 'KATA_E_NO_KVM' } });
    expect(seen).toEqual([
      'Platform unchanged',
      'State unchanged',
      'Architecture unchanged',
      'WritablePaths unchanged',
      'KVM failed',
      'ArtifactSource failed',
      'DiskSpace unchanged',
      'Engine unchanged',
      'EngineConfiguration unchanged',
      'EngineGuard unchanged',
    ]);
  });

  it('refuses to restart an engine where nothing could restore its configuration, as on NixOS', async () => {
    const host = await temporaryHost();
    await mkdir(host.at('/nix/store/units'), { recursive: true });
    await rm(host.at('/etc/systemd'), { recursive: true, force: true });
    await mkdir(host.at('/etc/systemd'), { recursive: true });
    await symlink('/nix/store/units', host.at('/etc/systemd/system'));
    await mkdir(host.at('/proc/1'), { recursive: true });
    await writeFile(
      host.at('/proc/1/mountinfo'),
      '1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:1 /nix/store /nix/store ro - ext4 /dev/sda1 rw\n',
    );
    const before = await snapshot(host.root);
    const bundleDirectory = await bundle();
    const run = (restart: 'WhenNeeded' | 'Never') =>
      preflight(
        contextOf(host, { bundleDirectory, plan: planOf({ engine: { type: 'Auto', restart } }) }),
      );
    const result = await run('WhenNeeded');
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_NO_GUARD', step: 'EngineGuard', reason: 'NoRestartGuard' },
    });
    expect(result.error?.message).toContain(
      '/etc/systemd/system cannot be written: /nix/store (ext4) is mounted read-only',
    );
    expect(result.error?.remedy).toContain('set spec.engine.restart to Never');
    expect(await snapshot(host.root)).toEqual(before);
    expect(await run('Never')).toMatchObject({ outcome: 'done' });
  });

  it('reports KVM as a fact and goes on, where it is not required', async () => {
    const host = await temporaryHost();
    const result = await preflight(
      contextOf(host, {
        bundleDirectory: await bundle(),
        probeKvm: () => Promise.resolve({ usable: false, cause: 'no device' }),
      }),
    );
    expect(result).toMatchObject({
      outcome: 'done',
      facts: {
        kvm: { usable: false },
        machineId: '0123456789abcdef0123456789abcdef',
        kernel: '6.18.5',
      },
    });
  });

  it('leaves out a runtime of another architecture, as long as one remains', async () => {
    const host = await temporaryHost();
    const runtimes = [FC, { ...FC, handler: 'kata-qemu-se', architectures: ['s390x'] }];
    expect(
      await preflight(
        contextOf(host, { plan: planOf({ runtimes }), bundleDirectory: await bundle() }),
      ),
    ).toMatchObject({ outcome: 'done' });
  });

  it('asks for no room where the version is there already', async () => {
    const host = await temporaryHost();
    const context = contextOf(host, { bundleDirectory: await bundle() });
    await stage(context);
    const index = `${context.bundleDirectory}/index.json`;
    const text = await readFile(index, 'utf8');
    await writeFile(
      index,
      text.replace(/"unpackedBytes":\d+/, `"unpackedBytes":${Number.MAX_SAFE_INTEGER - 1}`),
    );
    expect(await preflight(context)).toMatchObject({ outcome: 'done' });
    await rm(host.at('/opt/kata'), { recursive: true });
    expect(await preflight(context)).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_DISK_SPACE', step: 'DiskSpace' },
    });
  });

  it('is stopped in good order', async () => {
    const host = await temporaryHost();
    const result = await preflight(
      contextOf(host, { signal: AbortSignal.abort(), engine: new FileEngine().port }),
    );
    expect(result).toMatchObject({ outcome: 'refused', error: { code: 'KATA_E_INTERRUPTED' } });
  });
});
