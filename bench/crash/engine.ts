/**
 * An engine as the program under test sees it: CRI on a socket, a process in /proc, and a real containerd that
 * judges the configuration. It starts with the file as it is, as containerd does, and stays down when the real
 * one refuses it. No sandbox runs in it.
 */
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Server, ServerCredentials, type sendUnaryData } from '@grpc/grpc-js';
import { parse as parseToml } from 'smol-toml';
import { z } from 'zod';
import { startSystemd, type Systemd } from './systemd.ts';

export const CONFIG = '/etc/containerd/config.toml';
export const BINARY = '/usr/bin/containerd';
const SOCKET = '/run/containerd/containerd.sock';
const BUS = '/run/dbus/system_bus_socket';
const PID = 4711;

const run = promisify(execFile);

const text = z.string().default('');
const texts = z.array(z.string()).default([]);
const runtime = z.object({
  runtime_type: text,
  runtime_path: text,
  pod_annotations: texts,
  container_annotations: texts,
  privileged_without_host_devices: z.boolean().default(false),
  snapshotter: text,
  options: z.record(z.string(), z.unknown()).nullish(),
});
type Runtime = z.infer<typeof runtime>;

const dumped = z.object({
  plugins: z.looseObject({
    'io.containerd.cri.v1.runtime': z.object({
      containerd: z.object({ runtimes: z.record(z.string(), runtime) }),
    }),
  }),
});

/** Where a run may be interrupted: the restart was asked for, the engine is up again. */
export type RestartPhase = 'asked' | 'done';

export class FakeEngine {
  /** Undefined while the engine is down. */
  loaded: Readonly<Record<string, Runtime>> | undefined;
  restarts = 0;
  /** So many of the next restarts leave the engine down. */
  failingRestarts = 0;
  onRestart: (phase: RestartPhase) => void = () => undefined;
  readonly #root: string;
  readonly #helper: string;
  #server: Server | undefined;
  #systemd: Systemd | undefined;

  constructor(root: string, helper: string) {
    this.#root = root;
    this.#helper = helper;
  }

  /** Puts the process, its socket and systemd in place. The engine itself is down until `start`. */
  async appear(): Promise<void> {
    const process = join(this.#root, 'proc', String(PID));
    await mkdir(join(process, 'net'), { recursive: true });
    await mkdir(join(process, 'fd'), { recursive: true });
    await symlink(BINARY, join(process, 'exe'));
    await symlink('socket:[1]', join(process, 'fd/3'));
    await writeFile(join(process, 'cmdline'), `${BINARY}\0--config\0${CONFIG}\0`);
    await writeFile(join(process, 'cgroup'), '0::/system.slice/containerd.service\n');
    await writeFile(
      join(process, 'net/unix'),
      `Num RefCount Protocol Flags Type St Inode Path\n0: 2 0 00010000 0001 01 1 ${SOCKET}\n`,
    );
    await mkdir(dirname(join(this.#root, SOCKET)), { recursive: true });
    this.#systemd = await startSystemd(join(this.#root, BUS), () => this.#restartAsked());
  }

  disappear(): void {
    this.#down();
    this.#systemd?.close();
  }

  /** True when the engine is up: the real containerd takes the file. */
  async start(): Promise<boolean> {
    this.#down();
    const runtimes = await this.effectiveRuntimes();
    if (runtimes === undefined) return false;
    const server = new Server();
    server.addService(SERVICE, {
      Version: answering(() => VERSION_ANSWER),
      Status: answering(() => statusAnswer(runtimes)),
      ListPodSandbox: answering(() => Buffer.alloc(0)),
      ListContainers: answering(() => Buffer.alloc(0)),
    });
    await rm(join(this.#root, SOCKET), { force: true });
    await promisify(server.bindAsync.bind(server))(
      `unix:${join(this.#root, SOCKET)}`,
      ServerCredentials.createInsecure(),
    );
    this.#server = server;
    this.loaded = runtimes;
    return true;
  }

  /** What the real containerd makes of the file; undefined when it refuses it. */
  async effectiveRuntimes(): Promise<Readonly<Record<string, Runtime>> | undefined> {
    const args = ['chroot', this.#root, BINARY, '--config', CONFIG, 'config', 'dump'];
    try {
      const { stdout } = await run(this.#helper, args, { maxBuffer: 8 * 1024 * 1024 });
      const { plugins } = dumped.parse(parseToml(stdout));
      return plugins['io.containerd.cri.v1.runtime'].containerd.runtimes;
    } catch {
      return undefined;
    }
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

  #down(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
    this.loaded = undefined;
  }
}

const method = (name: string) => ({
  path: `/runtime.v1.RuntimeService/${name}`,
  requestStream: false as const,
  responseStream: false as const,
  requestSerialize: (bytes: Buffer) => bytes,
  requestDeserialize: (bytes: Buffer) => bytes,
  responseSerialize: (bytes: Buffer) => bytes,
  responseDeserialize: (bytes: Buffer) => bytes,
});
const SERVICE = {
  Version: method('Version'),
  Status: method('Status'),
  ListPodSandbox: method('ListPodSandbox'),
  ListContainers: method('ListContainers'),
};

function answering(bytes: () => Buffer) {
  return (_call: unknown, callback: sendUnaryData<Buffer>): void => {
    callback(null, bytes());
  };
}

/** A length-delimited protobuf field. */
function field(number: number, content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  const length: number[] = [];
  let rest = bytes.length;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length, rest]), bytes]);
}

const VERSION_ANSWER = Buffer.concat([field(2, 'containerd'), field(3, 'v2.4.2')]);
const READY = field(
  1,
  field(1, Buffer.concat([field(1, 'RuntimeReady'), Buffer.from([0x10, 0x01])])),
);

/** CRI's RuntimeStatus with conditions, verbose info and handlers (k8s.io/cri-api, runtime.v1). */
function statusAnswer(runtimes: Readonly<Record<string, Runtime>>): Buffer {
  const loaded = Object.fromEntries(
    Object.entries(runtimes).map(([handler, { options, ...its }]) => [
      handler,
      {
        runtimeType: its.runtime_type,
        runtimePath: its.runtime_path,
        PodAnnotations: its.pod_annotations,
        ContainerAnnotations: its.container_annotations,
        privileged_without_host_devices: its.privileged_without_host_devices,
        snapshotter: its.snapshotter,
        options: options ?? {},
      },
    ]),
  );
  const config = JSON.stringify({ containerd: { runtimes: loaded } });
  return Buffer.concat([
    READY,
    field(2, Buffer.concat([field(1, 'config'), field(2, config)])),
    ...Object.keys(runtimes).map((handler) => field(3, field(1, handler))),
  ]);
}
