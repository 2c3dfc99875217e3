/** Compiles shim.c, and names what it can do to a run. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const SOURCE = join(import.meta.dirname, 'shim.c');
const FLAGS = ['-std=gnu17', '-O2', '-shared', '-fPIC', '-Wall', '-Wextra', '-Werror'];

/** What happens at the chosen call. `from:` lasts until the program ends, as a full disk does. */
export const FAULTS = ['kill', 'torn', 'once:ENOSPC', 'from:ENOSPC', 'once:EIO'] as const;
export type Fault = (typeof FAULTS)[number];

/** One call that changes the disk. */
export interface DiskCall {
  readonly number: number;
  readonly name: string;
  /** Below the host's root. */
  readonly path: string;
}

export async function compileShim(output: string): Promise<void> {
  await promisify(execFile)('gcc', [...FLAGS, '-o', output, SOURCE, '-ldl'], { timeout: 60_000 });
}

export async function readCalls(log: string): Promise<DiskCall[]> {
  const text = await readFile(log, 'utf8').catch(() => '');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [number = '', name = '', ...path] = line.split(' ');
      return { number: Number(number), name, path: path.join(' ') };
    });
}
