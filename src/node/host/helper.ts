/**
 * What only the small C helper can do: ask KVM by ioctl, hold file locks, flush a whole file system, copy extended
 * attributes.
 *
 * By hand the helper may be missing. Then KVM is judged by opening its device, locks are held by flock(1)
 * of util-linux, which every distribution has, files are flushed one by one, and attributes are copied by cp(1).
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { KataError, causeOf } from '../../errors.ts';
import { errnoOf } from './ioError.ts';

const HELPER_TIMEOUT_MS = 10_000;
const BUSY_EXIT_CODE = 3;

export interface KvmFact {
  readonly usable: boolean;
  readonly cause?: string;
}

const kvmAnswer = z.object({ usable: z.boolean(), cause: z.string().optional() });

function helperPath(): string {
  return process.env['KATA_HELPER'] ?? '/kata/bin/kata-helper';
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

function start(command: string, args: readonly string[], signal?: AbortSignal): Child {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(signal === undefined ? {} : { signal }),
  });
  // A child that never started or ended early: its exit code tells, not the pipe.
  child.stdin.on('error', () => undefined);
  return child;
}

/** `device` is the path as this process sees it. */
export async function probeKvm(device: string, signal: AbortSignal): Promise<KvmFact> {
  const child = start(
    helperPath(),
    ['kvm', device],
    AbortSignal.any([signal, AbortSignal.timeout(HELPER_TIMEOUT_MS)]),
  );
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  try {
    child.stdin.end();
    const answer = await Promise.race([text(child.stdout), failed]);
    const { usable, cause } = kvmAnswer.parse(JSON.parse(answer));
    return { usable, ...(cause === undefined ? {} : { cause }) };
  } catch (error) {
    signal.throwIfAborted();
    return errnoOf(error) === 'ENOENT'
      ? openKvm(device)
      : { usable: false, cause: `the check failed: ${causeOf(error)}` };
  }
}

/**
 * syncfs(2) of the file system that holds `directory`: what is dirty there is on disk afterwards, whoever
 * wrote it. False when there is no helper. Throws KATA_E_IO with what the kernel says.
 */
export function flushFileSystem(directory: string, signal: AbortSignal): Promise<boolean> {
  return ran(helperPath(), ['syncfs', directory], directory, signal);
}

/** The kernel has no SELinux, or one that is off: then cp(1) refuses to copy labels, and there are none to lose. */
const SELINUX = '/sys/fs/selinux/enforce';

/**
 * Gives `to` the extended attributes of `from` (paths as this process sees them): SELinux label, access lists,
 * those of users. Not the hashes of its content. `shown` is the path on the host. Throws KATA_E_IO.
 */
export async function copyAttributes({
  from,
  to,
  shown,
}: Readonly<Record<'from' | 'to' | 'shown', string>>): Promise<void> {
  const deadline = AbortSignal.timeout(HELPER_TIMEOUT_MS);
  if (await ran(helperPath(), ['copyxattr', from, to], shown, deadline)) return;
  const preserve = existsSync(SELINUX) ? 'xattr,context' : 'xattr';
  const args = ['--attributes-only', `--preserve=${preserve}`, from, to];
  if (await ran('cp', args, shown, deadline)) return;
  throw new KataError('KATA_E_IO', {
    path: shown,
    cause: 'its extended attributes cannot be kept: there is neither kata-helper nor cp',
  });
}

/** Runs a command to its end. False when there is no such command. Throws KATA_E_IO with its complaint about `shown`. */
async function ran(
  command: string,
  args: readonly string[],
  shown: string,
  signal: AbortSignal,
): Promise<boolean> {
  const child = start(command, args, signal);
  const closed = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  try {
    child.stdin.end();
    const [code, complaint] = await Promise.all([closed, text(child.stderr)]);
    if (code === 0) return true;
    throw new KataError('KATA_E_IO', { path: shown, cause: complaint.trim() });
  } catch (error) {
    signal.throwIfAborted();
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function openKvm(device: string): Promise<KvmFact> {
  try {
    const file = await open(device, 'r+');
    await file.close();
    return { usable: true, cause: 'the device opens; its ioctl was not asked' };
  } catch (error) {
    return {
      usable: false,
      cause:
        errnoOf(error) === 'ENOENT' ? '/dev/kvm does not exist' : `/dev/kvm: ${causeOf(error)}`,
    };
  }
}

export interface HeldLock {
  release(): Promise<void>;
}

export interface LockFile {
  /** As this process sees it. */
  readonly at: string;
  readonly hostPath: string;
}

const RETRY_MS = 500;

/** Takes all locks or none, waiting for their holder up to `waitMs`. Throws KATA_E_BUSY. */
export async function lockFiles(
  files: readonly LockFile[],
  waitMs: number,
  signal: AbortSignal,
): Promise<HeldLock> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const held = await tryLock(files, signal);
    if (typeof held !== 'string') return held;
    if (performance.now() >= deadline) throw new KataError('KATA_E_BUSY', { lock: held });
    await sleep(RETRY_MS, undefined, { signal });
  }
}

/** The lock, or the host's path of the file that somebody else holds. */
async function tryLock(
  files: readonly LockFile[],
  signal: AbortSignal,
): Promise<HeldLock | string> {
  try {
    return await lockBy(helperPath(), ['lock', ...files.map(({ at }) => at)], files, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const held: HeldLock[] = [];
  const release = async (): Promise<void> => {
    await Promise.all(held.map((lock) => lock.release()));
  };
  for (const file of files) {
    const args = [
      '--nonblock',
      '--conflict-exit-code',
      String(BUSY_EXIT_CODE),
      file.at,
      'sh',
      '-c',
      'echo locked; exec cat',
    ];
    const lock = await lockBy('flock', args, [file], signal);
    if (typeof lock === 'string') {
      await release();
      return lock;
    }
    held.push(lock);
  }
  return { release };
}

/** The child holds the lock until its standard input ends: also when this process dies. */
async function lockBy(
  command: string,
  args: readonly string[],
  files: readonly LockFile[],
  signal: AbortSignal,
): Promise<HeldLock | string> {
  // Not bound to `signal` once it is held: an aborted run still has to take back what it did.
  const child = start(command, args);
  const closed = new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      resolve(code ?? -1);
    });
  });
  closed.catch(() => undefined);
  let said = '';
  let complained = '';
  child.stderr.on('data', (data: Buffer) => (complained += data.toString()));
  const answered = new Promise<'locked'>((resolve) => {
    child.stdout.on('data', (data: Buffer) => {
      said += data.toString();
      if (said.startsWith('locked')) resolve('locked');
    });
  });
  const release = async (): Promise<void> => {
    child.stdin.end();
    await closed.catch(() => undefined);
  };
  const timeout = sleep(HELPER_TIMEOUT_MS, 'timeout' as const, { signal, ref: false });
  const outcome = await Promise.race([answered, closed, timeout]).catch((error: unknown) => {
    child.kill('SIGKILL');
    throw error;
  });
  if (outcome === 'locked') return { release };
  if (outcome === 'timeout') {
    child.kill('SIGKILL');
    throw new KataError('KATA_E_TIMEOUT', { what: command, seconds: HELPER_TIMEOUT_MS / 1000 });
  }
  if (outcome !== BUSY_EXIT_CODE)
    throw new KataError('KATA_E_IO', {
      path: files[0]?.hostPath ?? '',
      cause: complained.trim() || `the lock failed (${outcome})`,
    });
  return files.find(({ at }) => said.includes(at))?.hostPath ?? files[0]?.hostPath ?? '';
}
