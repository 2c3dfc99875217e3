/** Runs a program to its end, with a deadline. Owns nothing that outlives the call. */
import { spawn } from 'node:child_process';

export interface Completed {
  /** Exit code; 128 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Rejects when the program cannot be started or takes longer than `timeoutMs`. */
export function run(
  path: string,
  args: readonly string[],
  stdin?: string,
  timeoutMs = 60_000,
): Promise<Completed> {
  return new Promise((resolve, reject) => {
    const child = spawn(path, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    const late = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${path} ${args.join(' ')}: still running after ${String(timeoutMs)} ms`));
    }, timeoutMs);
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.once('error', (error) => {
      clearTimeout(late);
      reject(error);
    });
    child.once('close', (code) => {
      clearTimeout(late);
      resolve({
        code: code ?? 128,
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(err).toString(),
      });
    });
    // A program that ends without reading its input is no error of ours.
    child.stdin.once('error', () => undefined);
    child.stdin.end(stdin ?? '');
  });
}

/** Standard output of a program that must succeed; otherwise an error that holds all it said. */
export async function succeed(running: Promise<Completed>): Promise<string> {
  const { code, stdout, stderr } = await running;
  if (code !== 0) throw new Error(`exit code ${String(code)}: ${stderr}${stdout}`);
  return stdout;
}

/** Whether strace is here and may trace: it lets system calls of a program fail or take their time. */
export async function canTrace(): Promise<boolean> {
  return run('strace', ['-qq', '-e', 'trace=none', 'true']).then(
    ({ code }) => code === 0,
    () => false,
  );
}
