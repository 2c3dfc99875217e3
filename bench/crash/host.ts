/**
 * A host in a directory, with an engine, an administrator's configuration, two sets of artifacts and two plans,
 * on which the real program runs and can be interrupted.
 *
 * Owns everything below its directory. A state of the host can be kept and brought back, so that every
 * interruption begins from the same one.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import {
  access,
  chmod,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { bundle } from '../../build/bundle.ts';
import { compileHelper } from '../../build/helper.ts';
import { engineBinary } from '../../e2e/cluster/engines.ts';
import type { NodePlan } from '../../src/crds/nodePlan.ts';
import { nodeResult, type NodeResult } from '../../src/crds/nodeResult.ts';
import { GUARD_SERVICE } from '../../src/node/engine/guard/guard.ts';
import { kataTree, sha256, tar, treeEntries, zst } from '../../test/unit/node/fixtures/archives.ts';
import { BINARY, CONFIG, FakeEngine, type RestartPhase } from './engine.ts';
import { compileShim, readCalls, type DiskCall, type Fault } from './shim.ts';

const RUN_TIMEOUT_MS = 120_000;
/** What is kept and brought back: all that an installer may change. */
const CHANGEABLE = ['etc', 'opt', 'var'];

export const ADMIN_CONFIG = `# Managed by the platform team. Ask before you change it!
version = 3   # do not touch

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"

[plugins.'io.containerd.cri.v1.runtime'.containerd]
\tdefault_runtime_name = "runc"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
# the end, without a newline`;

const GUARD_LINK = `etc/systemd/system/multi-user.target.wants/${GUARD_SERVICE}`;
const GUARD_SCRIPT = 'opt/kata/state/restore/restore.sh';

export type Revision = 'r1' | 'r2';

export interface Tools {
  readonly directory: string;
  readonly program: string;
  readonly helper: string;
  readonly shim: string;
  readonly containerd: string;
  readonly plans: Readonly<Record<Revision, string>>;
  readonly artifacts: Readonly<Record<Revision, string>>;
}

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

async function directoryInMemory(): Promise<string> {
  const inMemory = await access('/dev/shm', constants.W_OK).then(
    () => true,
    () => false,
  );
  return mkdtemp(join(inMemory ? '/dev/shm' : tmpdir(), 'kc-'));
}

/** Compiles and packs what all hosts share. `dispose` removes it. */
export async function prepareTools(): Promise<Tools & { dispose(): Promise<void> }> {
  const directory = await directoryInMemory();
  const at = (name: string): string => join(directory, name);
  const tools: Tools = {
    directory,
    program: at('kata-node.mjs'),
    helper: at('kata-helper'),
    shim: at('shim.so'),
    containerd: await engineBinary('2.4'),
    plans: { r1: at('plan-r1.json'), r2: at('plan-r2.json') },
    artifacts: { r1: at('artifacts-r1'), r2: at('artifacts-r2') },
  };
  await bundle(join(import.meta.dirname, '../../src/node/main.ts'), tools.program, {
    sourceMap: false,
  });
  await compileHelper(tools.helper);
  await compileShim(tools.shim);
  for (const revision of ['r1', 'r2'] as const) {
    await writeFile(tools.plans[revision], JSON.stringify(planOf(revision)));
    await packArtifacts(tools.artifacts[revision], revision === 'r1' ? '4.0.0' : '4.1.0');
  }
  return { ...tools, dispose: () => rm(directory, { recursive: true, force: true }) };
}

function planOf(revision: Revision): NodePlan {
  const common = {
    shimPath: 'bin/containerd-shim-kata-v2',
    architectures: ['amd64', 'arm64', 's390x', 'ppc64le'],
    podAnnotations: ['io.katacontainers.config.hypervisor.default_vcpus'],
    required: true,
  };
  const configuration = 'share/defaults/kata-containers/configuration-';
  const firecracker = {
    ...common,
    handler: 'kata-fc',
    base: 'fc',
    hypervisor: 'firecracker',
    configurationPath: `${configuration}fc.toml`,
  };
  const qemu = {
    ...common,
    handler: 'kata-qemu',
    base: 'qemu',
    hypervisor: 'qemu',
    configurationPath: `${configuration}qemu.toml`,
  };
  return {
    planVersion: 1,
    deployment: 'kata',
    revision,
    artifacts: { kind: 'bundled' },
    requireKVM: false,
    runtimes: revision === 'r1' ? [firecracker] : [firecracker, qemu],
    engine: { type: 'Auto', restart: 'WhenNeeded' },
    ...(revision === 'r1' ? {} : { defaultRuntime: 'kata-qemu' }),
  };
}

async function packArtifacts(directory: string, version: string): Promise<void> {
  await mkdir(directory);
  const arch = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const raw = await tar(treeEntries(kataTree(arch, version)));
  const bytes = zst(raw);
  await writeFile(join(directory, 'kata-static.tar.zst'), bytes);
  const archive = {
    file: 'kata-static.tar.zst',
    sha256: sha256(bytes),
    sizeBytes: bytes.length,
    unpackedBytes: raw.length,
    arch,
    component: 'kata-static',
  };
  await writeFile(join(directory, 'index.json'), JSON.stringify({ archives: [archive] }));
}

export class CrashHost {
  readonly root: string;
  readonly engine: FakeEngine;
  readonly #tools: Tools;
  readonly #directory: string;
  #runs = 0;

  private constructor(tools: Tools, directory: string) {
    this.#tools = tools;
    this.#directory = directory;
    this.root = join(directory, 'host');
    this.engine = new FakeEngine(this.root, tools.helper);
  }

  static async create(tools: Tools): Promise<CrashHost> {
    const host = new CrashHost(tools, await directoryInMemory());
    for (const path of [
      'etc/containerd',
      'etc/systemd/system',
      'opt',
      'var/lib',
      'proc',
      'run/lock',
      'usr/bin',
    ])
      await mkdir(join(host.root, path), { recursive: true });
    await writeFile(join(host.root, 'etc/machine-id'), '0123456789abcdef0123456789abcdef\n');
    await writeFile(join(host.root, CONFIG), ADMIN_CONFIG);
    await chmod(join(host.root, CONFIG), 0o640);
    // The binary is executed in a root of its own: it must lie inside.
    await cp(tools.containerd, join(host.root, BINARY));
    await host.engine.appear();
    if (!(await host.engine.start())) throw new Error('containerd does not take its configuration');
    return host;
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
    const systemctl = join(this.#directory, 'bin/systemctl');
    await mkdir(dirname(systemctl), { recursive: true });
    await writeFile(systemctl, '#!/bin/sh\n[ "$1" != is-active ] || { echo inactive; exit 3; }\n', {
      mode: 0o755,
    });
    const enabled = await lstat(join(this.root, GUARD_LINK)).then(
      () => true,
      () => false,
    );
    if (enabled) {
      const script = await readFile(join(this.root, GUARD_SCRIPT), 'utf8');
      const here = join(this.#directory, 'restore.sh');
      await writeFile(here, script.replaceAll(/'\/(etc|opt)\//g, `'${this.root}/$1/`));
      await run('sh', [here], {
        env: { PATH: `${dirname(systemctl)}:${process.env['PATH'] ?? ''}` },
      });
    }
    return this.engine.start();
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

function resultOf(stdout: string): NodeResult | undefined {
  const line = stdout.trim().split('\n').at(-1) ?? '';
  try {
    return nodeResult.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
