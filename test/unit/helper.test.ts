/** Drives the real helper binary, compiled by the compiler that is there. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileHelper } from '../../build/helper.ts';

interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const directory = mkdtempSync(join(tmpdir(), 'kata-helper-'));
const binary = join(directory, 'kata-helper');
const children: ChildProcess[] = [];

beforeAll(() => compileHelper(binary));
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

function helper(...parameters: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(binary, parameters, { timeout: 5_000 }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

function start(...parameters: string[]): ChildProcess {
  const child = spawn(binary, parameters, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  return child;
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('no standard output');
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
  return chunk.toString();
}

/** Waits until the program sleeps: a signal that comes before it has blocked them would kill it. */
async function asleep(child: ChildProcess): Promise<void> {
  await eventually(() => /^State:\s+S/m.test(statusOf(child)));
}

async function eventually(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('it did not come to pass within 5 s');
    await setTimeout(10);
  }
}

function statusOf(child: ChildProcess): string {
  return readFileSync(`/proc/${String(child.pid)}/status`, 'utf8');
}

function residentKiB(child: ChildProcess): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(statusOf(child))?.[1]);
}

describe('probe', () => {
  let serial = 0;

  /** A root with one installed file, and the fingerprint of it. */
  function installation() {
    const root = join(directory, `root-${String(serial++)}`);
    const path = join(root, 'opt', 'kata', 'shim');
    mkdirSync(join(root, 'opt', 'kata'), { recursive: true });
    writeFileSync(path, 'binary');
    const fingerprint = join(root, 'fingerprint');
    const write = () => {
      const { size, mtimeNs, ino } = lstatSync(path, { bigint: true });
      writeFileSync(fingerprint, [size, mtimeNs, ino, '/opt/kata/shim'].join('\t') + '\n');
    };
    write();
    return { root, path, fingerprint, write };
  }

  test('is ready when size, time and inode of every file are as recorded', async () => {
    const { root, fingerprint } = installation();
    expect(await helper('probe', fingerprint, root)).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  test('reads a root of / as the host itself', async () => {
    const { path, fingerprint } = installation();
    const { size, mtimeNs, ino } = lstatSync(path, { bigint: true });
    writeFileSync(fingerprint, [size, mtimeNs, ino, path].join('\t'));
    expect((await helper('probe', fingerprint, '/')).status).toBe(0);
  });

  const changes: [string, string, (path: string) => void][] = [
    [
      'is gone',
      'No such file or directory',
      (path) => {
        rmSync(path);
      },
    ],
    [
      'has grown',
      'size differs',
      (path) => {
        writeFileSync(path, 'binary and more');
      },
    ],
    [
      'was touched',
      'modification time differs',
      (path) => {
        utimesSync(path, 1, 1);
      },
    ],
    [
      'was replaced by one of the same size and time',
      'inode differs',
      (path) => {
        writeFileSync(`${path}.new`, 'binary');
        utimesSync(`${path}.new`, 1_000, 1_000);
        renameSync(`${path}.new`, path);
      },
    ],
  ];
  test.each(changes)('is not ready when a file %s, and says: %s', async (_, message, change) => {
    const { root, path, fingerprint, write } = installation();
    utimesSync(path, 1_000, 1_000);
    write();
    change(path);
    const ended = await helper('probe', fingerprint, root);
    expect(ended.status).toBe(1);
    expect(ended.stdout).toBe(`/opt/kata/shim: ${message}\n`);
  });

  test('is not ready before there is a fingerprint', async () => {
    const ended = await helper('probe', join(directory, 'none'), '/');
    expect(ended.status).toBe(1);
    expect(ended.stdout).toContain('No such file or directory');
  });

  test.each([
    ['nothing', ''],
    ['a word', 'ready\n'],
    ['a relative path', '1\t1\t1\topt/kata\n'],
    ['a field too few', '1\t1\t/opt/kata\n'],
    ['a number too large', '99999999999999999999\t1\t1\t/opt/kata\n'],
    ['a line that is longer than any path', `1\t1\t1\t/${'x'.repeat(20_000)}\n`],
  ])('is not ready by a fingerprint that is %s', async (_, content) => {
    const file = join(directory, `bad-${String(serial++)}`);
    writeFileSync(file, content);
    const ended = await helper('probe', file, '/');
    expect(ended.status).toBe(1);
    expect(ended.stdout).toContain('the fingerprint');
  });
});

describe('pause', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('ends with success on %s', async (signal) => {
    const child = start('pause');
    await once(child, 'spawn');
    await asleep(child);
    child.kill(signal);
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  test('reaps the children it inherits, as PID 1 must', async () => {
    const child = spawn('sh', ['-c', 'sleep 0.1 & exec "$0" pause', binary]);
    children.push(child);
    const pid = String(child.pid);
    const childrenOf = () => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    await eventually(() => childrenOf() !== '' && statusOf(child).startsWith('Name:\tkata-helper'));
    await eventually(() => childrenOf() === '');
    expect(child.exitCode).toBeNull();
  });

  test('stays under 1 MiB of resident memory', async () => {
    const child = start('pause');
    await once(child, 'spawn');
    await asleep(child);
    expect(residentKiB(child)).toBeLessThan(1024);
  });
});

describe('kvm', () => {
  test('names the cause when the device is missing, and that is no failure', async () => {
    const ended = await helper('kvm', '/dev/no-kvm');
    expect(ended.status).toBe(0);
    expect(JSON.parse(ended.stdout)).toEqual({
      usable: false,
      cause: 'open /dev/no-kvm: No such file or directory',
    });
  });

  test('is not satisfied with a device that is not KVM', async () => {
    const ended = await helper('kvm', '/dev/null');
    expect(JSON.parse(ended.stdout)).toMatchObject({ usable: false });
    expect(ended.stdout).toContain('KVM_GET_API_VERSION on /dev/null');
  });

  test('prints JSON whatever the name of the device', async () => {
    const ended = await helper('kvm', '/dev/"a\\b\n');
    expect(JSON.parse(ended.stdout)).toMatchObject({
      cause: 'open /dev/"a\\b\n: No such file or directory',
    });
  });
});

describe('lock', () => {
  test('holds the locks until its input ends, and is busy for the next one', async () => {
    const [first, second] = [join(directory, 'first.lock'), join(directory, 'second.lock')];
    const holder = start('lock', first, second);
    expect(await firstLine(holder)).toBe('locked\n');
    expect(await helper('lock', second)).toEqual({
      status: 3,
      stdout: `busy ${second}\n`,
      stderr: '',
    });
    holder.stdin?.end();
    expect(await once(holder, 'exit')).toEqual([0, null]);
    const next = start('lock', first, second);
    expect(await firstLine(next)).toBe('locked\n');
    next.stdin?.end();
  });

  test('lets go when it is killed', async () => {
    const file = join(directory, 'killed.lock');
    const holder = start('lock', file);
    await firstLine(holder);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    const next = start('lock', file);
    expect(await firstLine(next)).toBe('locked\n');
    next.stdin?.end();
  });

  test('fails where the file cannot be made', async () => {
    const ended = await helper('lock', '/proc/no/such.lock');
    expect(ended.status).toBe(1);
    expect(ended.stderr).toContain('/proc/no/such.lock: No such file or directory');
  });
});

// chroot(2) is for root; make test runs as root.
describe.runIf(process.getuid?.() === 0)('chroot', () => {
  const root = join(directory, 'chroot');
  beforeAll(() => {
    mkdirSync(join(root, 'bin'), { recursive: true });
    copyFileSync(binary, join(root, 'bin', 'tool'));
    writeFileSync(join(root, 'bin', 'text'), 'no program', { mode: 0o644 });
    writeFileSync(join(root, 'only-here'), '');
  });

  test('runs a binary of that root in it, and passes on arguments and exit code', async () => {
    expect((await helper('chroot', root, '/bin/tool', 'uname')).stdout).toBe(`${release()}\n`);
    expect((await helper('chroot', root, '/bin/tool', 'probe', '/only-here', '/')).stdout).toBe(
      'the fingerprint is empty\n',
    );
    expect((await helper('chroot', root, '/bin/tool', 'sleep')).status).toBe(2);
  });

  test.each([
    ['a root that is missing', 126, ['/no/such/root', '/bin/tool']],
    ['a command that is missing', 127, [root, '/bin/none']],
    ['a file that is no program', 126, [root, '/bin/text']],
  ])('says that it did not run %s', async (_, status, parameters) => {
    const ended = await helper('chroot', ...parameters);
    expect(ended.status).toBe(status);
    expect(ended.stderr).not.toBe('');
  });
});

describe('syncfs', () => {
  test('flushes the file system of a directory and says nothing', async () => {
    expect(await helper('syncfs', tmpdir())).toMatchObject({ status: 0, stdout: '', stderr: '' });
  });

  test('names the directory that it cannot open', async () => {
    const ended = await helper('syncfs', '/nowhere');
    expect(ended.status).toBe(1);
    expect(ended.stderr).toBe('syncfs /nowhere: No such file or directory\n');
  });
});

test('uname prints the release of the kernel', async () => {
  expect((await helper('uname')).stdout).toBe(`${release()}\n`);
});

test.each([
  [[]],
  [['sleep']],
  [['pause', '1']],
  [['probe', 'file']],
  [['lock']],
  [['kvm', 'a', 'b']],
  [['chroot', '/']],
])('refuses the arguments %j with its usage', async (parameters) => {
  const ended = await helper(...parameters);
  expect(ended.status).toBe(2);
  expect(ended.stderr).toContain('usage: kata-helper pause');
});
