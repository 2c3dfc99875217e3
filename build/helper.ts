/**
 * Compiles the node image's C helper to one static binary.
 * Owns the compiler flags. Must never link anything at run time: the binary runs in an empty image.
 */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

export const HELPER_SOURCE = fileURLToPath(
  new URL('../daemonset-image/helper/kata-helper.c', import.meta.url),
);

/** The image build compiles with the same ones: see daemonset-image/Dockerfile. */
const FLAGS = [
  ...['-std=c17', '-Os', '-static', '-s'],
  ...['-Wall', '-Wextra', '-Wpedantic', '-Wconversion', '-Wshadow', '-Wformat=2', '-Werror'],
];

/** musl first: a tenth of glibc's resident memory. */
const COMPILERS = ['musl-gcc', 'gcc', 'cc'];

const COMPILE_TIMEOUT_MS = 60_000;

/** Compiles the helper to `output`. Returns the compiler used; throws with its output when it refuses. */
export async function compileHelper(output: string): Promise<string> {
  await mkdir(dirname(output), { recursive: true });
  for (const compiler of COMPILERS) {
    try {
      await run(compiler, [...FLAGS, '-o', output, HELPER_SOURCE], { timeout: COMPILE_TIMEOUT_MS });
      return compiler;
    } catch (thrown) {
      if (!isMissing(thrown)) throw thrown;
    }
  }
  throw new Error(`no C compiler found (${COMPILERS.join(', ')}): install gcc or musl-tools`);
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT';
}
