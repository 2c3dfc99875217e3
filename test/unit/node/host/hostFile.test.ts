import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Host, hostAt } from '../../../../src/node/host/host.ts';
import {
  readHostFile,
  removeHostFile,
  replaceHostFile,
  resolveOnHost,
  writeHostFile,
} from '../../../../src/node/host/hostFile.ts';

let root = '';
let host: Host;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ko-file-'));
  host = hostAt(root);
  await mkdir(join(root, 'etc/containerd'), { recursive: true });
});
afterEach(async () => {
  await rm(root, { recursive: true });
});

describe('a file of the host', () => {
  test('is replaced whole, with its mode, and nothing is left beside it', async () => {
    await writeFile(join(root, 'etc/containerd/config.toml'), 'old');
    await chmod(join(root, 'etc/containerd/config.toml'), 0o640);
    const before = await stat(join(root, 'etc/containerd/config.toml'));
    await writeHostFile(
      host,
      await readHostFile(host, '/etc/containerd/config.toml'),
      Buffer.from('new'),
    );
    const after = await stat(join(root, 'etc/containerd/config.toml'));
    expect(await readFile(join(root, 'etc/containerd/config.toml'), 'utf8')).toBe('new');
    expect(after.mode).toBe(before.mode);
    expect(after.ino).not.toBe(before.ino);
    expect(await readdir(join(root, 'etc/containerd'))).toEqual(['config.toml']);
  });

  test('behind a link is replaced where it lies, inside the root of the host', async () => {
    await mkdir(join(root, 'srv/config'), { recursive: true });
    await writeFile(join(root, 'srv/config/real.toml'), 'old');
    await symlink('/srv/config/../config/real.toml', join(root, 'etc/containerd/config.toml'));
    await symlink('containerd', join(root, 'etc/c'));
    const file = await readHostFile(host, '/etc/c/config.toml');
    expect(file.path).toBe('/srv/config/real.toml');
    await writeHostFile(host, file, Buffer.from('new'));
    expect(await readFile(join(root, 'srv/config/real.toml'), 'utf8')).toBe('new');
    expect((await lstat(join(root, 'etc/containerd/config.toml'))).isSymbolicLink()).toBe(true);
  });

  test('that somebody else has written to since it was read is not replaced', async () => {
    const path = '/etc/containerd/config.toml';
    const at = join(root, path);
    for (const [before, since] of [
      ['old', 'theirs'],
      ['old', undefined],
      [undefined, 'theirs'],
    ] as const) {
      await rm(at, { force: true });
      if (before !== undefined) await writeFile(at, before);
      const file = await readHostFile(host, path);
      if (since === undefined) await rm(at);
      else await writeFile(at, since);
      await expect(replaceHostFile(host, file, Buffer.from('ours'))).rejects.toMatchObject({
        code: 'KATA_E_CONFIG_CHANGED',
      });
      expect(await readFile(at, 'utf8').catch(() => undefined)).toBe(since);
      expect(await readdir(join(root, 'etc/containerd'))).toEqual(
        since === undefined ? [] : ['config.toml'],
      );
    }
  });

  test('that is missing has no bytes, and its path is known all the same', async () => {
    const file = await readHostFile(host, '/etc/none/config.toml');
    expect(file).toEqual({ path: '/etc/none/config.toml', mode: 0o644, uid: 0, gid: 0 });
    await removeHostFile(host, '/etc/containerd/config.toml');
  });

  test('links never lead out of the root, and a loop of them is an error', async () => {
    await symlink('../../../../../../etc/passwd', join(root, 'etc/up'));
    expect(await resolveOnHost(host, '/etc/up')).toBe('/etc/passwd');
    await symlink('loop', join(root, 'etc/loop'));
    await expect(resolveOnHost(host, '/etc/loop')).rejects.toMatchObject({ code: 'KATA_E_IO' });
  });

  test('that cannot be written leaves the old one and no temporary file', async () => {
    await mkdir(join(root, 'etc/containerd/config.toml'));
    const file = { path: '/etc/containerd/config.toml', mode: 0o644, uid: 0, gid: 0 };
    await expect(writeHostFile(host, file, Buffer.from('new'))).rejects.toMatchObject({
      code: 'KATA_E_IO',
    });
    expect(await readdir(join(root, 'etc/containerd'))).toEqual(['config.toml']);
  });
});
