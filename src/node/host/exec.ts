/**
 * Running a binary of the host, with the host's root as its root.
 *
 * Node.js has no chroot(2): under any root but `/` the small C helper enters it and executes the binary.
 * Never a shell; output is bounded, every run has a deadline.
 */
import { spawn } from 'node:child_process';
import { KataError, causeOf } from '../../errors.ts';
import type { Host } from './host.ts';

export interface ExecResult {
  /** Exit code; -1 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ExecOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const MAX_OUTPUT_BYTES = 8 * 1024 * 1024;

/** Host's PATH for what the binary itself starts; nothing of our environment goes in. */
const ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
};

/** Runs `argv` (its first element is a path on the host). Throws KATA_E_IO when it cannot start, KATA_E_TIMEOUT. */
export async function execOnHost(
  host: Host,
  argv: readonly [string, ...string[]],
  options: ExecOptions,
): Promise<ExecResult> {
  const [command, ...rest] = argv;
  if (host.root === '/') return run(command, rest, options, command);
  const helper = process.env['KATA_HELPER'] ?? '/kata/bin/kata-helper';
  const result = await run(helper, ['chroot', host.root, command, ...rest], options, command);
  // The helper's way, as env(1)'s, to say that it could not enter the root or start the command.
  if (result.code === 126 || result.code === 127)
    throw new KataError('KATA_E_IO', {
      path: command,
      cause: result.stderr.trim() || `exit code ${result.code}`,
    });
  return result;
}

function run(
  file: string,
  args: readonly string[],
  { timeoutMs, signal }: ExecOptions,
  shown: string,
): Promise<ExecResult> {
  signal.throwIfAborted();
  const deadline = AbortSignal.timeout(timeoutMs);
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      env: ENVIRONMENT,
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: AbortSignal.any([signal, deadline]),
      killSignal: 'SIGKILL',
    });
    const stdout = collect(child.stdout);
    const stderr = collect(child.stderr);
    child.once('error', (error) => {
      if (signal.aborted) reject(signal.reason as Error);
      else if (deadline.aborted)
        reject(new KataError('KATA_E_TIMEOUT', { what: shown, seconds: timeoutMs / 1000 }));
      else
        reject(
          new KataError('KATA_E_IO', { path: shown, cause: causeOf(error) }, { cause: error }),
        );
    });
    child.once('close', (code) => {
      resolve({ code: code ?? -1, stdout: stdout(), stderr: stderr() });
    });
  });
}

/** What the stream says, cut at the limit: more than that is read and dropped, so that the writer never blocks. */
function collect(stream: NodeJS.ReadableStream): () => string {
  const parts: Buffer[] = [];
  let size = 0;
  stream.on('data', (part: Buffer) => {
    if (size < MAX_OUTPUT_BYTES) parts.push(part);
    size += part.length;
  });
  return () => Buffer.concat(parts).toString('utf8');
}
