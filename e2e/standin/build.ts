/**
 * Builds the two stand-in runtimes from their Go modules, into the cache.
 *
 * Owns the binaries in <cache>/standin. The versions are those of the go.mod files beside it. It must never
 * leave a half-written binary behind, nor touch the repository.
 */
import { createHash } from 'node:crypto';
import { access, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findGo } from '../cluster/go.ts';
import { withLock } from '../cluster/lock.ts';
import { CACHE } from '../cluster/paths.ts';
import { run } from '../cluster/process.ts';
import type { Progress } from '../cluster/progress.ts';

const DIRECTORY = join(CACHE, 'standin');

/** File name → Go module beside this file, and package as seen from it. */
const BINARIES = {
  'containerd-shim-kata-v2': { module: 'sandbox', goPackage: '.' },
  runsc: { module: 'sandbox', goPackage: 'gvisor.dev/gvisor/runsc' },
  'containerd-shim-hostkernel': { module: 'hostkernel', goPackage: '.' },
} as const;

const BUILD_FLAGS = ['-trimpath', '-buildvcs=false', '-ldflags', '-s -w'];
const BUILD_TIMEOUT_MS = 20 * 60_000;

export interface Standins {
  /** gVisor's sandbox under the name of Kata's shim; needs `runsc` beside it or in ../../bin. */
  readonly shim: string;
  readonly runsc: string;
  /** runc's shim under the name of Kata's: isolates nothing. */
  readonly hostKernelShim: string;
  /** Changes whenever a binary would. */
  readonly key: string;
}

/** Builds what is missing or out of date: about 90 s with Go's module cache, nothing when up to date. */
export async function buildStandins(progress: Progress, signal?: AbortSignal): Promise<Standins> {
  const key = await sourceKey();
  if (!(await isFresh(key))) {
    await withLock(join(CACHE, 'build-standin.lock'), async () => {
      if (await isFresh(key)) return;
      await progress.step('build the stand-in runtimes', () => buildAll(signal));
      await writeFile(join(DIRECTORY, '.key'), key);
    });
  }
  return {
    shim: join(DIRECTORY, 'containerd-shim-kata-v2'),
    runsc: join(DIRECTORY, 'runsc'),
    hostKernelShim: join(DIRECTORY, 'containerd-shim-hostkernel'),
    key,
  };
}

async function buildAll(signal?: AbortSignal): Promise<void> {
  await mkdir(DIRECTORY, { recursive: true });
  const go = await findGo();
  for (const [name, { module, goPackage }] of Object.entries(BINARIES)) {
    const partial = join(DIRECTORY, `${name}.partial`);
    await run([go.path, 'build', ...BUILD_FLAGS, '-o', partial, goPackage], {
      cwd: join(import.meta.dirname, module),
      env: go.env,
      nice: true,
      timeoutMs: BUILD_TIMEOUT_MS,
      signal,
    });
    await rename(partial, join(DIRECTORY, name));
  }
}

async function sourceKey(): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([BINARIES, BUILD_FLAGS]));
  for (const module of new Set(Object.values(BINARIES).map((binary) => binary.module))) {
    const directory = join(import.meta.dirname, module);
    for (const file of (await readdir(directory)).sort()) {
      hash.update(`${module}/${file}\0`).update(await readFile(join(directory, file)));
    }
  }
  return hash.digest('hex');
}

async function isFresh(key: string): Promise<boolean> {
  try {
    for (const name of Object.keys(BINARIES)) await access(join(DIRECTORY, name));
    return (await readFile(join(DIRECTORY, '.key'), 'utf8')) === key;
  } catch {
    return false;
  }
}
