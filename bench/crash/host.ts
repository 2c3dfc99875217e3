/**
 * A host in a directory, with an engine, an administrator's configuration, two sets of artifacts and two plans,
 * on which the real program runs and can be interrupted.
 *
 * Owns everything below its directory. A state of the host can be kept and brought back, so that every
 * interruption begins from the same one.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, lstat, mkdir, readFile, rm, symlink, writeFile, cp } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { nodeResult, type NodeResult } from '../../src/crds/nodeResult.ts';
import { GUARD_SERVICE } from '../../src/node/engine/guard/guard.ts';
import { FakeEngine, type RestartPhase } from './engine.ts';
import { CONTAINERD_CONFIG } from './engineKinds.ts';
import type { Machine } from './machines.ts';
import { readCalls, type DiskCall, type Fault } from './shim.ts';
import { directoryInMemory, type Revision, type Tools } from './tools.ts';

const RUN_TIMEOUT_MS = 120_000;
/** What is kept and brought back: all that an installer may change. */
const CHANGEABLE = ['etc', 'opt', 'var'];

const GUARD_LINK = `etc/systemd/system/multi-user.target.wants/${GUARD_SERVICE}`;
const GUARD_SCRIPT = 'opt/kata/state/restore/restore.sh';

/** Where a run is interrupted: at a call that changes the disk, or around the engine's restart. */
export type Interruption =
  { readonly at: number; readonly fault: Fault } | { readonly restart: RestartPhase } | 'none';

export interface Ran {
  readonly killed: boolean;
  readonly code: number | null;
  readonly result: NodeResult | undefined;
  readonly stdout: string;
  readonly stderr: string;
  readonly calls: readonly DiskCall[];
}

export class CrashHost {
  readonly root: string;
  readonly machine: Machine;
  readonly engine: FakeEngine;
  readonly #tools: Tools;
  readonly #directory: string;
  #runs = 0;

  private constructor(tools: Tools, machine: Machine, directory: string) {
    this.#tools = tools;
    this.machine = machine;
    this.#directory = directory;
    this.root = join(directory, 'host');
    this.engine = new FakeEngine(this.root, tools.helper, machine.kind);
  }

  static async create(tools: Tools, machine: Machine): Promise<CrashHost> {
    const host = new CrashHost(tools, machine, await directoryInMemory());
    for (const path of ['etc/systemd/system', 'opt', 'var/lib', 'proc', 'run/lock'])
      await mkdir(join(host.root, path), { recursive: true });
    await host.#put('/etc/machine-id', '0123456789abcdef0123456789abcdef\n', 0o444);
    for (const [path, text] of Object.entries(machine.files)) await host.#put(path, text, 0o640);
    // The binary is executed in a root of its own: it must lie inside, with all that it needs.
    for (const [path, from] of Object.entries(await machine.binaries()))
      await cp(from, join(host.root, path), { dereference: true });
    await host.engine.appear();
    if (!(await host.engine.start())) throw new Error(`${machine.name}: the engine does not start`);
    return host;
  }

  async #put(path: string, text: string, mode: number): Promise<void> {
    const at = join(this.root, path);
    await mkdir(dirname(at), { recursive: true });
    await writeFile(at, text);
    await chmod(at, mode);
  }

  /** containerd's main file. */
  config(): Promise<string> {
    return readFile(join(this.root, CONTAINERD_CONFIG), 'utf8');
  }

  /** Handlers of ours that the engine has loaded. */
  served(): string[] {
    return Object.keys(this.engine.loaded ?? {}).filter((handler) => handler.startsWith('kata'));
  }

  async dispose(): Promise<void> {
    this.engine.disappear();
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Keeps the host's files under a name. */
  async keep(name: string): Promise<void> {
    for (const part of CHANGEABLE)
      await run('cp', ['-a', '-T', join(this.root, part), await this.#kept(name, part)]);
  }

  /** Brings the files of a kept state back, and the engine up with them. */
  async bringBack(name: string): Promise<void> {
    for (const part of CHANGEABLE) {
      await rm(join(this.root, part), { recursive: true, force: true });
      await run('cp', ['-a', '-T', await this.#kept(name, part), join(this.root, part)]);
    }
    this.engine.onRestart = () => undefined;
    this.engine.failingRestarts = 0;
    if (!(await this.engine.start())) throw new Error(`the engine does not start in ${name}`);
  }

  async #kept(name: string, part: string): Promise<string> {
    const directory = join(this.#directory, 'kept', name);
    await mkdir(directory, { recursive: true });
    return join(directory, part);
  }

  /**
   * Power off and on: the engine starts with the file that is there then. Where a run has left the unit that restores
   * the file, its script runs before, told that systemd is about to start the engine. False when the engine stays down.
   */
  async reboot(): Promise<boolean> {
    await this.#restoreByGuard('inactive', 'inactive');
    return this.engine.start();
  }

  /**
   * Nobody goes on for a while: where a run has left the timer that restores the file, its script runs, with the engine
   * as it is. False when the engine is down afterwards.
   */
  async timerElapses(): Promise<boolean> {
    const asked = await this.#restoreByGuard(
      'active',
      this.engine.loaded === undefined ? 'failed' : 'active',
    );
    return asked ? this.engine.start() : this.engine.loaded !== undefined;
  }

  /** True when the script has asked for a restart of the engine. */
  async #restoreByGuard(timer: string, engine: string): Promise<boolean> {
    if (!(await exists(join(this.root, GUARD_LINK)))) return false;
    const systemctl = join(this.#directory, 'bin/systemctl');
    const asked = join(this.#directory, 'restart-asked');
    await rm(asked, { force: true });
    await mkdir(dirname(systemctl), { recursive: true });
    const said = (state: string): string => `exit ${state === 'active' ? 0 : 3}`;
    await writeFile(
      systemctl,
      `#!/bin/sh
case "$1 $2" in
'is-active --quiet') ${said(timer)} ;;
is-active*) echo ${engine}; ${said(engine)} ;;
'--no-block restart') : >'${asked}' ;;
esac
`,
      { mode: 0o755 },
    );
    const script = await readFile(join(this.root, GUARD_SCRIPT), 'utf8');
    const here = join(this.#directory, 'restore.sh');
    await writeFile(here, script.replaceAll(/'\/(etc|opt)\//g, `'${this.root}/$1/`));
    await run('sh', [here], {
      env: { PATH: `${dirname(systemctl)}:${process.env['PATH'] ?? ''}` },
    });
    return exists(asked);
  }

  /** Makes it look as if a process ran from `path`; returns what ends it. */
  async pretendProcess(pid: number, path: string): Promise<() => Promise<void>> {
    const process = join(this.root, 'proc', String(pid));
    await mkdir(process, { recursive: true });
    await symlink(path, join(process, 'exe'));
    await writeFile(join(process, 'cmdline'), `${path}\0-namespace\0k8s.io\0`);
    return () => rm(process, { recursive: true, force: true });
  }

  /** Runs the program to its end, whatever that is. */
  async kataNode(
    command: readonly string[],
    revision: Revision,
    interruption: Interruption = 'none',
  ): Promise<Ran> {
    this.#runs += 1;
    const log = join(this.#directory, `calls-${this.#runs}`);
    const args = [
      this.#tools.program,
      ...command,
      ...['--plan', this.#tools.plans[revision], '--root', this.root, '--output', 'json'],
      ...['--artifacts', this.#tools.artifacts[revision]],
    ];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'] ?? '',
        KATA_HELPER: this.#tools.helper,
        // One thread: the order of calls is the same in every run.
        UV_THREADPOOL_SIZE: '1',
        LD_PRELOAD: this.#tools.shim,
        CRASH_ROOT: this.root,
        CRASH_LOG: log,
        ...(typeof interruption === 'object' && 'at' in interruption
          ? { CRASH_AT: String(interruption.at), CRASH_ACTION: interruption.fault }
          : {}),
      },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    this.engine.onRestart = (phase) => {
      if (typeof interruption === 'object' && 'restart' in interruption)
        if (interruption.restart === phase) child.kill('SIGKILL');
    };
    const timer = setTimeout(() => child.kill('SIGKILL'), RUN_TIMEOUT_MS);
    await once(child, 'close');
    clearTimeout(timer);
    const calls = await readCalls(log);
    await rm(log, { force: true });
    const killed = child.signalCode === 'SIGKILL';
    const result = killed ? undefined : resultOf(stdout);
    return { killed, code: child.exitCode, result, stdout, stderr, calls };
  }
}

const run = promisify(execFile);

async function exists(at: string): Promise<boolean> {
  return lstat(at).then(
    () => true,
    () => false,
  );
}

function resultOf(stdout: string): NodeResult | undefined {
  const line = stdout.trim().split('\n').at(-1) ?? '';
  try {
    return nodeResult.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
