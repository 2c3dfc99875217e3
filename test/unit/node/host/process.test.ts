import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Host, hostAt } from '../../../../src/node/host/host.ts';
import {
  flagValue,
  listeningInodes,
  listensOn,
  processesNamed,
  unitInCgroups,
} from '../../../../src/node/host/process.ts';

let root = '';
let host: Host;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ko-proc-'));
  host = hostAt(root);
});
afterEach(async () => {
  await rm(root, { recursive: true });
});

const NET_UNIX = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 30001 /run/containerd/containerd.sock.ttrpc
0000000000000000: 00000002 00000000 00010000 0001 01 30002 /run/containerd/containerd.sock
0000000000000000: 00000003 00000000 00000000 0001 03 30003 /run/containerd/containerd.sock
0000000000000000: 00000002 00000000 00000000 0002 01 30004
0000000000000000: 00000002 00000000 00010000 0001 01 30005 /run/a socket
`;

async function addProcess(
  pid: number,
  exe: string,
  argv: string[],
  inodes: number[] = [],
): Promise<void> {
  const directory = join(root, 'proc', String(pid));
  await mkdir(join(directory, 'fd'), { recursive: true });
  await mkdir(join(directory, 'net'), { recursive: true });
  await symlink(exe, join(directory, 'exe'));
  await writeFile(join(directory, 'cmdline'), argv.map((argument) => `${argument}\0`).join(''));
  await writeFile(join(directory, 'net/unix'), NET_UNIX);
  for (const [index, inode] of inodes.entries())
    await symlink(`socket:[${inode}]`, join(directory, 'fd', String(index + 3)));
}

describe('processes of the host', () => {
  test('are found by the name of their executable, also one that was replaced on disk', async () => {
    await addProcess(12, '/usr/bin/containerd (deleted)', [
      '/usr/bin/containerd',
      '--config',
      '/etc/c.toml',
    ]);
    await addProcess(13, '/usr/bin/containerd-shim-runc-v2', ['containerd-shim-runc-v2']);
    await mkdir(join(root, 'proc/14'));
    expect(await processesNamed(host, new Set(['containerd']))).toEqual([
      {
        pid: 12,
        exe: '/usr/bin/containerd',
        argv: ['/usr/bin/containerd', '--config', '/etc/c.toml'],
      },
    ]);
  });

  test('listen on a socket when they hold the listening end, not when they are connected to it', async () => {
    await addProcess(12, '/usr/bin/containerd', [], [30001, 30002]);
    await addProcess(13, '/usr/bin/kubelet', [], [30003]);
    const path = new Set(['/run/containerd/containerd.sock']);
    expect(await listensOn(host, 12, path)).toBe(true);
    expect(await listensOn(host, 13, path)).toBe(false);
    expect(await listensOn(host, 99, path)).toBe(false);
    expect(listeningInodes(NET_UNIX, new Set(['/run/a socket']))).toEqual(new Set(['30005']));
  });

  test.for([
    { argv: ['x', '--config', '/a'], value: '/a' },
    { argv: ['x', '--config=/a=b'], value: '/a=b' },
    { argv: ['x', '-c', '/a', '--config', '/b'], value: '/b' },
    { argv: ['x', '--config'], value: undefined },
    { argv: ['x', '--configuration', '/a'], value: undefined },
  ])('have flags in every spelling: $argv', ({ argv, value }) => {
    expect(flagValue(argv, '--config', '-c')).toBe(value);
  });

  test.for([
    {
      name: 'the unified hierarchy',
      groups: '0::/system.slice/containerd.service\n',
      unit: 'containerd.service',
    },
    {
      name: "systemd's own hierarchy",
      groups: '12:cpu:/kube.slice\n1:name=systemd:/system.slice/containerd.service\n0::/\n',
      unit: 'containerd.service',
    },
    {
      name: 'a machine that is itself a container',
      groups: '1:name=systemd:/docker/0a1b/system.slice/snap.docker.service/x\n',
      unit: 'snap.docker.service',
    },
    {
      name: 'another cgroup namespace',
      groups: '0::/../../system.slice/containerd.service\n',
      unit: 'containerd.service',
    },
    {
      name: 'a login session',
      groups: '0::/user.slice/user-0.slice/session-1.scope\n',
      unit: undefined,
    },
  ])('belong to the unit that $name names', ({ groups, unit }) => {
    expect(unitInCgroups(groups)).toBe(unit);
  });
});
