/**
 * A CRI-O of the test's own, with directories of its own. Nothing is run in it: its conmon only tells its version.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KataError } from '../../../src/errors.ts';
import { criStatus } from '../../../src/node/engine/cri/client.ts';
import type { Engine, EngineRestarter } from '../../../src/node/engine/index.ts';

const START_TIMEOUT_MS = 60_000;

export class CrioProcess implements EngineRestarter {
  readonly unit = 'CRI-O of the test';
  readonly directory: string;
  restarts = 0;
  reloads = 0;
  /** The next reloads do nothing, as with an older CRI-O. */
  ignoresReload = false;
  /** So many of the next restarts end the process and do not start it again. */
  failingRestarts = 0;
  readonly #binary: string;
  #child: ChildProcess | undefined;

  private constructor(binary: string, directory: string) {
    this.#binary = binary;
    this.directory = directory;
  }

  static async create(binary: string): Promise<CrioProcess> {
    const crio = new CrioProcess(binary, await mkdtemp(join(tmpdir(), 'ko-crio-')));
    const { directory } = crio;
    for (const name of ['etc/crio.conf.d', 'cni', 'shim'])
      await mkdir(join(directory, name), { recursive: true });
    await script(join(directory, 'conmon'), 'echo conmon version 2.1.12');
    await script(join(directory, 'runc'), 'exit 0');
    await script(join(directory, 'shim/containerd-shim-kata-v2'), 'exit 0');
    await writeFile(join(directory, 'shim/configuration.toml'), '');
    await writeFile(crio.engine().configPath, configuration(directory));
    return crio;
  }

  engine(): Engine {
    return {
      name: 'crio',
      version: '1.34.0',
      configPath: join(this.directory, 'etc/crio.conf'),
      dropInDirectory: join(this.directory, 'etc/crio.conf.d'),
      socket: join(this.directory, 'crio.sock'),
      binaryPath: this.#binary,
      running: true,
    };
  }

  async start(): Promise<void> {
    const { configPath, dropInDirectory = '', socket } = this.engine();
    const log = await open(join(this.directory, 'log'), 'a');
    const child = spawn(this.#binary, ['--config', configPath, '--config-dir', dropInDirectory], {
      stdio: ['ignore', log.fd, log.fd],
    });
    this.#child = child;
    await log.close();
    const signal = AbortSignal.timeout(START_TIMEOUT_MS);
    for (;;) {
      const isReady = await criStatus(socket, 1_000, signal).then(
        ({ runtimeReady }) => runtimeReady,
        () => false,
      );
      if (isReady) return;
      if (child.exitCode !== null) throw new Error(`CRI-O ended with ${child.exitCode}`);
      await sleep(50, undefined, { signal });
    }
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

  readonly reload = (): Promise<void> => {
    this.reloads += 1;
    if (!this.ignoresReload) this.#child?.kill('SIGHUP');
    return Promise.resolve();
  };

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(late);
  }

  async destroy(): Promise<void> {
    await this.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}

async function script(path: string, line: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${line}\n`);
  await chmod(path, 0o755);
}

const configuration = (directory: string): string => `# Maintained by the platform team.
[crio]
root = "${directory}/root"
runroot = "${directory}/runroot"
storage_driver = "vfs"
version_file = "${directory}/version"
version_file_persist = "${directory}/version-persist"
clean_shutdown_file = "${directory}/clean"
log_dir = "${directory}/logs"
[crio.api]
listen = "${directory}/crio.sock"
stream_port = "0"
[crio.runtime]
default_runtime = "runc"
conmon = "${directory}/conmon"
conmon_cgroup = "pod"
cgroup_manager = "cgroupfs"
pinns_path = "${directory}/conmon"
namespaces_dir = "${directory}/ns"
container_exits_dir = "${directory}/exits"
container_attach_socket_dir = "${directory}/attach"
apparmor_profile = "unconfined"
hooks_dir = []
[crio.runtime.runtimes.runc]
runtime_path = "${directory}/runc"
runtime_type = "oci"
runtime_root = "${directory}/run-runc"
monitor_path = "${directory}/conmon"
[crio.network]
network_dir = "${directory}/cni"
plugin_dirs = ["${directory}/cni"]
`;
