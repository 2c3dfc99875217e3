/**
 * An engine as the program under test sees it: CRI on a socket, a process in /proc, and the real binary that
 * judges the configuration. It starts with its files as they are, as the real one does, and stays down when that
 * refuses them. No sandbox runs in it.
 */
import { execFile } from 'node:child_process';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Server } from '@grpc/grpc-js';
import { parse as parseToml } from 'smol-toml';
import { serveCri } from './criAnswers.ts';
import type { EngineKind, LoadedRuntimes } from './engineKinds.ts';
import { startSystemd, type Systemd } from './systemd.ts';

const BUS = '/run/dbus/system_bus_socket';
const ENGINE_PID = 4711;
const KUBELET_PID = 4712;

const run = promisify(execFile);

/** Where a run may be interrupted: the restart (or reload) was asked for, the engine is up again. */
export type RestartPhase = 'asked' | 'done';

export class FakeEngine {
  /** Undefined while the engine is down. */
  loaded: LoadedRuntimes | undefined;
  restarts = 0;
  /** So many of the next restarts leave the engine down. */
  failingRestarts = 0;
  onRestart: (phase: RestartPhase) => void = () => undefined;
  readonly #root: string;
  readonly #helper: string;
  readonly #kind: EngineKind;
  #server: Server | undefined;
  #systemd: Systemd | undefined;

  constructor(root: string, helper: string, kind: EngineKind) {
    this.#root = root;
    this.#helper = helper;
    this.#kind = kind;
  }

  /** Puts the process, its socket, kubelet and systemd in place. The engine itself is down until `start`. */
  async appear(): Promise<void> {
    const { binary, args, socket, unit } = this.#kind;
    const process = await this.#process(ENGINE_PID, [binary, ...args]);
    await mkdir(join(process, 'net'));
    await mkdir(join(process, 'fd'));
    await symlink('socket:[1]', join(process, 'fd/3'));
    await writeFile(join(process, 'cgroup'), `0::/system.slice/${unit}\n`);
    await writeFile(
      join(process, 'net/unix'),
      `Num RefCount Protocol Flags Type St Inode Path\n0: 2 0 00010000 0001 01 1 ${socket}\n`,
    );
    await this.#process(KUBELET_PID, [
      '/usr/bin/kubelet',
      `--container-runtime-endpoint=unix://${socket}`,
    ]);
    await mkdir(dirname(join(this.#root, socket)), { recursive: true });
    this.#systemd = await startSystemd(join(this.#root, BUS), unit, {
      restart: () => this.#restartAsked(),
      reload: () => this.#reloadAsked(),
    });
  }

  disappear(): void {
    this.#down();
    this.#systemd?.close();
  }

  /** True when the engine is up: the real binary takes the files. */
  async start(): Promise<boolean> {
    this.#down();
    const runtimes = await this.#effectiveRuntimes();
    if (runtimes === undefined) return false;
    const socket = join(this.#root, this.#kind.socket);
    await rm(socket, { force: true });
    this.loaded = runtimes;
    this.#server = await serveCri(socket, this.#kind, () => this.loaded ?? {});
    return true;
  }

  /** What the real binary makes of the files; undefined when it refuses them. */
  async #effectiveRuntimes(): Promise<LoadedRuntimes | undefined> {
    const args = ['chroot', this.#root, this.#kind.binary, ...this.#kind.dumpArgs];
    try {
      const { stdout } = await run(this.#helper, args, { maxBuffer: 8 * 1024 * 1024 });
      return this.#kind.runtimesOf(parseToml(stdout));
    } catch {
      return undefined;
    }
  }

  async #process(pid: number, argv: readonly [string, ...string[]]): Promise<string> {
    const process = join(this.#root, 'proc', String(pid));
    await mkdir(process, { recursive: true });
    await symlink(argv[0], join(process, 'exe'));
    await writeFile(join(process, 'cmdline'), argv.map((word) => `${word}\0`).join(''));
    return process;
  }

  async #restartAsked(): Promise<boolean> {
    this.restarts += 1;
    this.onRestart('asked');
    this.#down();
    if (this.failingRestarts > 0) {
      this.failingRestarts -= 1;
      return false;
    }
    const up = await this.start();
    this.onRestart('done');
    return up;
  }

  /** It goes on with what it had when it does not take the new files. */
  async #reloadAsked(): Promise<boolean> {
    if (!this.#kind.reloads || this.loaded === undefined) return false;
    this.onRestart('asked');
    this.loaded = (await this.#effectiveRuntimes()) ?? this.loaded;
    this.onRestart('done');
    return true;
  }

  #down(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
    this.loaded = undefined;
  }
}
