/** What a file is besides its bytes stays when it is replaced: seen on a real file system, by another program. */
import { chmod, chown, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { compileHelper } from '../../build/helper.ts';
import { hostAt } from '../../src/node/host/host.ts';
import { readHostFile, replaceHostFile } from '../../src/node/host/hostFile.ts';
import { attributes } from './support/attributes.ts';

const LABEL = 'system_u:object_r:container_config_t:s0\0';
/** For new files of a directory: user 1000 may write. */
const ACCESS_LIST = Buffer.from(
  [
    '02000000',
    '01000700ffffffff' + '02000600e8030000' + '04000500ffffffff',
    '10000700ffffffff' + '20000500ffffffff',
  ].join(''),
  'hex',
).toString('latin1');
let root = '';
let helper = '';
beforeAll(async () => {
  helper = join(await mkdtemp(join(tmpdir(), 'ko-helper-')), 'kata-helper');
  await compileHelper(helper);
});
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ko-xattr-'));
  return async () => {
    vi.unstubAllEnvs();
    await rm(root, { recursive: true });
  };
});
afterAll(() => rm(join(helper, '..'), { recursive: true }));

/** Labels can be set by root only, and only where the file system has them. */
async function canLabel(): Promise<boolean> {
  const probe = join(root, 'probe');
  await writeFile(probe, '');
  try {
    attributes(probe, { 'security.selinux': LABEL });
    return true;
  } catch {
    return false;
  } finally {
    await rm(probe);
  }
}

test.for([
  { name: 'kata-helper', at: (): string => helper },
  { name: 'cp, where there is no helper', at: (): string => '/nowhere/kata-helper' },
])(
  'a replaced file keeps its SELinux label, other attributes, mode and owner, by $name',
  async ({ at }, { skip }) => {
    if (!(await canLabel())) skip('needs root, python3 and a file system with security attributes');
    vi.stubEnv('KATA_HELPER', at());
    const real = join(root, 'real.toml');
    await writeFile(real, 'old');
    await chown(real, 12, 34);
    await chmod(real, 0o641);
    const before = attributes(real, {
      'security.selinux': LABEL,
      'user.note': 'mine',
      'trusted.x': '',
    });
    expect(Object.keys(before)).toHaveLength(3);
    await symlink('real.toml', join(root, 'config.toml'));

    const host = hostAt(root);
    const file = await readHostFile(host, '/config.toml');
    await replaceHostFile(host, file, Buffer.from('new'));

    expect(attributes(real)).toEqual(before);
    expect(await stat(real)).toMatchObject({ uid: 12, gid: 34, mode: 0o100641, size: 3 });
    expect((await readdir(root)).toSorted()).toEqual(['config.toml', 'real.toml']);
  },
);

test('a hash of the old content is not taken over, and what the directory would add is not added', async ({
  skip,
}) => {
  if (!(await canLabel())) skip('needs root, python3 and a file system with security attributes');
  vi.stubEnv('KATA_HELPER', helper);
  const path = join(root, 'config.toml');
  await writeFile(path, 'old');
  attributes(root, { 'system.posix_acl_default': ACCESS_LIST });
  attributes(path, { 'security.ima': '\u0004\u0004abcd', 'user.note': 'mine' });
  const host = hostAt(root);
  const file = await readHostFile(host, '/config.toml');
  await replaceHostFile(host, file, Buffer.from('new'));
  expect(Object.keys(attributes(path))).toEqual(['user.note']);
});
