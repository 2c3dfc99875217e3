/**
 * A real containerd as a process of this machine, with directories and a socket of its own, and a restarter
 * that does what systemd would: end it by its process id and start it again.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KataError } from '../../../src/errors.ts';
import { criStatus } from '../../../src/node/engine/cri/client.ts';
import type { EngineRestarter } from '../../../src/node/engine/index.ts';

const START_TIMEOUT_MS = 60_000;

export class EngineProcess implements EngineRestarter {
  readonly unit = 'containerd of the test';
  /** So many of the next restarts end the process and do not start it again. */
  failingRestarts = 0;
  restarts = 0;
  readonly directory: string;
  readonly #binary: string;
  #child: ChildProcess | undefined;

  constructor(binary: string, directory: string) {
    this.#binary = binary;
    this.directory = directory;
  }

  static async create(binary: string): Promise<EngineProcess> {
    const engine = new EngineProcess(binary, await mkdtemp(join(tmpdir(), 'ko-engine-')));
    await mkdir(join(engine.directory, 'etc'));
    return engine;
  }

  get configPath(): string {
    return join(this.directory, 'etc/config.toml');
  }

  get socket(): string {
    return join(this.directory, 'c.sock');
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async write(text: string | Buffer): Promise<void> {
    await writeFile(this.configPath, text);
  }

  async start(): Promise<void> {
    const log = await open(join(this.directory, 'log'), 'a');
    this.#child = spawn(this.#binary, ['--config', this.configPath], {
      stdio: ['ignore', log.fd, log.fd],
    });
    await log.close();
    const signal = AbortSignal.timeout(START_TIMEOUT_MS);
    for (;;) {
      const ready = await criStatus(this.socket, 1_000, signal).then(
        ({ runtimeReady }) => runtimeReady,
        () => false,
      );
      if (ready) return;
      if (this.#child.exitCode !== null)
        throw new Error(`containerd ended with ${this.#child.exitCode}`);
      await sleep(50, undefined, { signal });
    }
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  }

  async restart(): Promise<void> {
    this.restarts += 1;
    await this.stop();
    if (this.failingRestarts > 0) {
      this.failingRestarts -= 1;
      throw new KataError('KATA_E_ENGINE_RESTART', {
        unit: this.unit,
        cause: 'the test does not start it',
      });
    }
    await this.start();
  }

  async destroy(): Promise<void> {
    await this.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}
