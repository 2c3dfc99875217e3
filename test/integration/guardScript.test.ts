/**
 * The restoring script itself, run by sh with nothing but the tools that every host with systemd has; systemctl is one
 * that only remembers.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { guardScript, SAVED, type GuardPlaces } from '../../src/node/engine/guard/script.ts';
import { attributes } from './support/attributes.ts';

const TOOLS =
  'sh cat cp chcon chmod chown cut dirname flock mkdir mv rm rmdir sha256sum sync touch'.split(' ');
const OLD = 'old bytes\n';
const NEW = 'new bytes\n';
const LABEL = 'system_u:object_r:container_config_t:s0\0';
/** user::rw-, user:1000:rw-, group::r--, mask::rw-, other::--- */
const ACCESS_LIST = Buffer.from(
  '02000000' +
    ['01000600ffffffff', '02000600e8030000', '04000400ffffffff'].join('') +
    ['10000600ffffffff', '20000000ffffffff'].join(''),
  'hex',
).toString('latin1');

let root = '';
let places: GuardPlaces;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ko-guard-'));
  places = {
    directory: join(root, 'restore'),
    service: 'restore.service',
    timer: 'restore.timer',
    wants: join(root, 'wants'),
    unitFiles: [join(root, 'restore.service')],
    lock: join(root, 'lock'),
    note: join(root, 'note'),
  };
  await mkdir(join(root, 'bin'));
  await mkdir(join(root, 'etc'));
  for (const tool of TOOLS) {
    const path = await promisify(execFile)('sh', ['-c', `command -v ${tool}`]);
    await symlink(path.stdout.trim(), join(root, 'bin', tool));
  }
  await program(
    'systemctl',
    'case $1$2 in is-active--quiet) exit 3;; is-active*) echo inactive; exit 3;; esac',
  );
});
afterEach(() => rm(root, { recursive: true }));

const config = (): string => join(root, 'etc/config.toml');
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

async function program(name: string, body: string): Promise<void> {
  await writeFile(join(root, 'bin', name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
}

/** Those that this file system takes from us, set on the file. */
function whatCanBeSet(path: string): Record<string, string> {
  const wanted = {
    'user.note': 'mine',
    'trusted.x': '',
    'security.selinux': LABEL,
    'system.posix_acl_access': ACCESS_LIST,
  };
  for (const [name, value] of Object.entries(wanted))
    try {
      attributes(path, { [name]: value });
    } catch {
      // Not here: the others say enough.
    }
  return attributes(path);
}

async function restore(present: string | undefined, after: string | undefined): Promise<string> {
  await mkdir(places.directory);
  await writeFile(join(places.directory, SAVED), OLD, { mode: 0o600 });
  if (present !== undefined) await writeFile(config(), present);
  const script = guardScript(
    {
      ...{ unit: 'engine.service', path: config(), mode: 0o640, uid: 12, gid: 34, target: 'wish' },
      beforeSha256: sha256(OLD),
      ...(after === undefined ? {} : { afterSha256: sha256(after) }),
    },
    places,
  );
  await writeFile(join(places.directory, 'restore.sh'), script);
  const { stdout, stderr } = await promisify(execFile)(
    join(root, 'bin/sh'),
    [join(places.directory, 'restore.sh')],
    { env: { PATH: join(root, 'bin') }, timeout: 10_000 },
  );
  expect(await readdir(join(root, 'etc'))).toEqual(['config.toml']);
  expect(await readdir(root)).not.toContain('restore');
  return stdout + stderr;
}

describe('the script of the guard', () => {
  test('gives back the bytes, and keeps what the file is besides them', async ({ skip }) => {
    await writeFile(config(), NEW);
    await chown(config(), 12, 34);
    await chmod(config(), 0o641);
    const before = whatCanBeSet(config());
    if (!('user.note' in before)) skip('needs python3 and a file system with extended attributes');
    const { mode, ino } = await stat(config());
    expect(await restore(NEW, NEW)).toBe(
      `restored ${config()} as it was before the change of kata-operator\n`,
    );
    expect(await readFile(config(), 'utf8')).toBe(OLD);
    expect(attributes(config())).toEqual(before);
    const after = await stat(config());
    expect(after).toMatchObject({ uid: 12, gid: 34, mode });
    expect(after.ino).not.toBe(ino);
    expect(Date.now() - after.mtimeMs).toBeLessThan(60_000);
  });

  test('of a file that is gone with its directory knows mode and owner, and asks SELinux for the label', async () => {
    await program('restorecon', `echo "label of $1"`);
    await rm(join(root, 'etc'), { recursive: true });
    const said = await restore(undefined, undefined);
    expect(said).toContain('label of');
    expect(await readFile(config(), 'utf8')).toBe(OLD);
    expect(await stat(config())).toMatchObject({ uid: 12, gid: 34, mode: 0o100640 });
  });

  test('restores also where cp knows nothing of attributes', async () => {
    await rm(join(root, 'bin/cp'));
    await program('cp', 'case $1 in --*) exit 1;; esac; cat "$1" >"$2"');
    await restore(NEW, NEW);
    expect(await readFile(config(), 'utf8')).toBe(OLD);
    expect(await stat(config())).toMatchObject({ uid: 12, gid: 34, mode: 0o100640 });
  });

  test.for([
    ['of what it has restored', NEW, ['wish\n']],
    ['of nothing, where the change was never made', OLD, []],
  ] as const)('started by its timer leaves a note %s', async ([, present, notes]) => {
    await program('systemctl', 'case "$1 $2" in "is-active engine"*) echo active;; esac');
    await restore(present, NEW);
    expect(await readFile(config(), 'utf8')).toBe(OLD);
    const note = await readFile(places.note, 'utf8').catch(() => undefined);
    expect(note === undefined ? [] : [note]).toEqual(notes);
  });

  test('leaves a file of somebody else as it is', async () => {
    await restore('theirs', NEW);
    expect(await readFile(config(), 'utf8')).toBe('theirs');
  });
});
