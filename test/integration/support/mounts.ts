/** Mounts for tests that need a file system of a certain kind, and whether this machine allows them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, succeed } from './run.ts';

/** Mounts with `args` at a directory; returns what takes it away again. */
export async function mounted(args: readonly string[], at: string): Promise<() => Promise<void>> {
  await succeed(run('mount', [...args, at]));
  return async () => {
    await succeed(run('umount', [at]));
  };
}

export async function canMount(): Promise<boolean> {
  const directory = await mkdtemp(join(tmpdir(), 'ko-mount-'));
  try {
    await (
      await mounted(['-t', 'tmpfs', 'tmpfs'], directory)
    )();
    return true;
  } catch {
    return false;
  } finally {
    await rm(directory, { recursive: true });
  }
}
