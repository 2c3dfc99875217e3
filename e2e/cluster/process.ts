/**
 * Runs other programs: with a deadline, with their output kept for the error, and never through a shell.
 *
 * Owns child processes. It must never leave one running after the deadline or an abort.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';

export interface RunOptions {
  readonly cwd?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Buffer;
  /** Default: 120 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Runs with lower priority, for long builds on a shared machine. */
  readonly nice?: boolean;
}

export interface RunResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** A program that ended with something else than 0; the message holds the end of what it printed. */
export class CommandError extends Error {
  readonly argv: readonly string[];
  readonly result: RunResult;
  constructor(argv: readonly string[], result: RunResult, note: string) {
    const output = `${result.stderr}\n${result.stdout.toString('utf8')}`.trim();
    super(`${argv.join(' ').slice(0, 400)}: ${note}\n${output.slice(-3000)}`);
    this.argv = argv;
    this.result = result;
  }
}

const DEFAULT_TIMEOUT_MS = 120_000;

/**
 * Runs a program to its end, whatever its exit code.
 * @throws CommandError when the deadline passes or a signal ends it; Error when it cannot be started.
 */
export async function runAny(
  argv: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const child = start(argv, options);
  const ended = exit(child);
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  try {
    child.stdin?.on('error', () => undefined); // a program may end without reading its input
    child.stdin?.end(options.input ?? '');
    const [stdout, stderr, [code, signal]] = await Promise.all([
      collect(child.stdout),
      child.stderr === null ? '' : text(child.stderr),
      ended,
    ]);
    const result = { exitCode: code ?? -1, stdout, stderr };
    if (signal !== null) {
      options.signal?.throwIfAborted();
      throw new CommandError(argv, result, `ended by ${signal} (deadline ${timeoutMs / 1000} s)`);
    }
    return result;
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a program that must succeed. @throws CommandError */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const result = await runAny(argv, options);
  if (result.exitCode !== 0) throw new CommandError(argv, result, `exit code ${result.exitCode}`);
  return result;
}

/** Runs a program that must succeed and returns what it printed, without the last line break. */
export async function output(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  return (await run(argv, options)).stdout.toString('utf8').trimEnd();
}

/** Connects the output of one program to the input of another; both must succeed. */
export async function pipe(
  from: readonly string[],
  to: readonly string[],
  options: RunOptions = {},
): Promise<void> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const source = start(from, options);
  const sink = start(to, options);
  const timer = setTimeout(() => {
    source.kill('SIGKILL');
    sink.kill('SIGKILL');
  }, timeoutMs);
  try {
    source.stdin?.end();
    sink.stdin?.on('error', () => source.kill('SIGKILL'));
    if (source.stdout !== null && sink.stdin !== null) source.stdout.pipe(sink.stdin);
    const [fromError, toError, toOutput, [fromCode], [toCode]] = await Promise.all([
      source.stderr === null ? '' : text(source.stderr),
      sink.stderr === null ? '' : text(sink.stderr),
      collect(sink.stdout),
      exit(source),
      exit(sink),
    ]);
    if (toCode !== 0) {
      const result = { exitCode: toCode ?? -1, stdout: toOutput, stderr: toError };
      throw new CommandError(to, result, `exit code ${toCode ?? 'none'}`);
    }
    if (fromCode !== 0) {
      const result = { exitCode: fromCode ?? -1, stdout: Buffer.alloc(0), stderr: fromError };
      throw new CommandError(from, result, `exit code ${fromCode ?? 'none'}`);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Where a shell looks for programs. */
export const PATH_DIRECTORIES: readonly string[] = (process.env['PATH'] ?? '')
  .split(delimiter)
  .filter((directory) => directory !== '');

/** The absolute path of a program in the first directory that has it. */
export async function which(
  program: string,
  directories: readonly string[] = PATH_DIRECTORIES,
): Promise<string | undefined> {
  for (const directory of directories) {
    const path = join(directory, program);
    const usable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (usable) return path;
  }
  return undefined;
}

function start(argv: readonly string[], options: RunOptions): ChildProcess {
  const [program, ...args] = options.nice === true ? ['nice', '-n', '10', ...argv] : argv;
  if (program === undefined) throw new Error('no program to run');
  return spawn(program, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.signal === undefined ? {} : { signal: options.signal, killSignal: 'SIGKILL' }),
  });
}

function exit(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      resolve([code, signal]);
    });
  });
}

async function collect(stream: NodeJS.ReadableStream | null): Promise<Buffer> {
  const chunks: Buffer[] = [];
  if (stream !== null) for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
