import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { GUARD_SERVICE, systemdGuard } from '../../../../src/node/engine/guard/guard.ts';
import {
  guardScript,
  watchedBy,
  type GuardedFile,
  type GuardPlaces,
} from '../../../../src/node/engine/guard/script.ts';
import { serviceUnit } from '../../../../src/node/engine/guard/units.ts';
import { hostAt } from '../../../../src/node/host/host.ts';

const FILE: GuardedFile = {
  unit: 'containerd.service',
  path: '/etc/containerd/config.toml',
  mode: 0o640,
  uid: 0,
  gid: 12,
  beforeSha256: 'a'.repeat(64),
  afterSha256: 'b'.repeat(64),
  target: 'wish',
};
const PLACES: GuardPlaces = {
  directory: '/opt/kata/state/restore',
  service: 'restore.service',
  timer: 'restore.timer',
  wants: '/etc/systemd/system/multi-user.target.wants',
  unitFiles: ['/etc/systemd/system/restore.service'],
  lock: '/opt/kata/state/lock',
  note: '/opt/kata/state/note',
};

describe('the script of the guard', () => {
  test('takes no path for more than a path', () => {
    const script = guardScript({ ...FILE, path: "/etc/it's $(reboot) `x`/c.toml" }, PLACES);
    expect(script).toContain(String.raw`file='/etc/it'\''s $(reboot) ` + "`x`/c.toml'\n");
    const code = script.replaceAll(/'[^']*'|\\'|^#.*$/gm, '');
    expect(code).not.toContain('reboot');
  });

  test('gives back mode and owner, and puts nothing half-written where the engine reads', () => {
    const script = guardScript({ ...FILE, path: '/etc/crio/crio.conf.d/90-x.conf' }, PLACES);
    expect(script).toContain('chmod 640 "$new"');
    expect(script).toContain('chown 0:12 "$new"');
    expect(script).toContain("new='/etc/crio/.90-x.conf.kata-operator-new'");
  });

  test('of a file that was not there before removes it', () => {
    const { beforeSha256: _none, ...file } = FILE;
    expect(guardScript(file, PLACES)).toContain("before='none'\n");
  });

  test('runs before the engine, when what it needs is mounted', () => {
    const unit = serviceUnit({ ...FILE, path: '/etc/50% more/c.toml' }, PLACES);
    expect(unit).toContain('Before=containerd.service\n');
    expect(unit).toContain('RequiresMountsFor="/opt/kata/state/restore" "/etc/50%% more"\n');
  });
});

describe('a guard that cannot be armed', () => {
  let root = '';
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'ko-guard-'));
    await mkdir(join(root, 'opt/kata/state'), { recursive: true });
  });
  afterEach(() => rm(root, { recursive: true }));
  const signal = (): AbortSignal => AbortSignal.timeout(10_000);

  test('leaves nothing of itself when its units cannot be written', async () => {
    await mkdir(join(root, 'etc/systemd'), { recursive: true });
    await writeFile(join(root, 'etc/systemd/system'), 'no directory');
    const guard = systemdGuard(hostAt(root));
    await expect(guard.arm(FILE, Buffer.from('old'), signal())).rejects.toThrow();
    expect(await readdir(join(root, 'opt/kata/state'))).toEqual([]);
    expect(await guard.isGone()).toBe(true);
  });

  test('leaves nothing of itself when nobody can start its timer', async () => {
    const wants = join(root, 'etc/systemd/system/multi-user.target.wants');
    await mkdir(wants, { recursive: true });
    const guard = systemdGuard(hostAt(root));
    await expect(guard.arm(FILE, Buffer.from('old'), signal())).rejects.toThrow();
    expect(await guard.isGone()).toBe(true);
    expect(await readdir(wants)).toEqual([]);
  });

  describe('where one stands already', () => {
    const hash = (letter: string): string => letter.repeat(64);
    const change = (before: string, after: string): GuardedFile => ({
      ...FILE,
      beforeSha256: hash(before),
      afterSha256: hash(after),
    });
    const saved = (): Promise<string> =>
      readFile(join(root, 'opt/kata/state/restore/saved'), 'utf8');
    const script = (): Promise<string> =>
      readFile(join(root, 'opt/kata/state/restore/restore.sh'), 'utf8');

    /** Nobody starts timers here: arming fails at its end, and what stood before still stands. */
    async function armOver(text: string, file: GuardedFile): Promise<void> {
      const wants = join(root, 'etc/systemd/system/multi-user.target.wants');
      await mkdir(wants, { recursive: true });
      await mkdir(join(root, 'opt/kata/state/restore'));
      await writeFile(join(root, 'opt/kata/state/restore/saved'), 'first');
      await writeFile(join(root, 'opt/kata/state/restore/restarted'), '');
      await writeFile(join(root, 'opt/kata/state/restore/restore.sh'), text);
      await symlink('../kata-operator-restore.service', join(wants, GUARD_SERVICE));
      const guard = systemdGuard(hostAt(root));
      await expect(guard.arm(file, Buffer.from('second'), signal())).rejects.toThrow();
      expect(await guard.isGone()).toBe(false);
    }

    test('over the same change, it stays as it is', async () => {
      const text = guardScript(change('a', 'b'), PLACES);
      await armOver(text, change('a', 'b'));
      expect([await saved(), await script()]).toEqual(['first', text]);
    });

    test('over a change that nobody has confirmed and this one starts from, its bytes stay', async () => {
      await armOver(guardScript(change('a', 'b'), PLACES), change('b', 'c'));
      expect(await saved()).toBe('first');
      expect(watchedBy(await script())).toEqual({
        beforeSha256: hash('a'),
        afterSha256: hash('c'),
      });
      expect(await readdir(join(root, 'opt/kata/state/restore'))).toContain('restarted');
    });

    test.for([
      ['over another file', guardScript(change('a', 'b'), PLACES)],
      ['of a release that writes it in another way', '#!/usr/bin/lua\n'],
    ] as const)('%s, it is replaced', async ([, text]) => {
      await armOver(text, change('d', 'e'));
      expect(await saved()).toBe('second');
      expect(watchedBy(await script())).toEqual({
        beforeSha256: hash('d'),
        afterSha256: hash('e'),
      });
      expect(await readdir(join(root, 'opt/kata/state/restore'))).not.toContain('restarted');
    });
  });

  test('says what the timer has taken back once', async () => {
    await writeFile(join(root, 'opt/kata/state/restored-by-guard'), 'wish\n');
    const guard = systemdGuard(hostAt(root));
    expect(await guard.takeNote()).toBe('wish');
    expect(await guard.takeNote()).toBeUndefined();
  });
});
