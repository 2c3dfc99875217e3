/**
 * The engines that a host of the crash benchmark can have: how each is started, asked for its configuration, and what it
 * says of itself over CRI. Everything that differs between them is here.
 */
import { z } from 'zod';

/** What an engine has loaded of one runtime. */
export interface LoadedRuntime {
  readonly shimPath: string;
  /** As it shows the runtime in Status(verbose). */
  readonly shown: unknown;
}
export type LoadedRuntimes = Readonly<Record<string, LoadedRuntime>>;

export interface EngineKind {
  readonly unit: string;
  /** Path on the host. */
  readonly binary: string;
  /** Of its process, without the program. */
  readonly args: readonly string[];
  readonly socket: string;
  /** Name and version, as CRI's Version tells them. */
  readonly version: readonly [string, string];
  /** Arguments with which it prints what it makes of its files. */
  readonly dumpArgs: readonly string[];
  /** Whether it takes its runtimes over by a reload. */
  readonly reloads: boolean;
  /** Whether Status lists the handlers. */
  readonly listsHandlers: boolean;
  runtimesOf(dump: unknown): LoadedRuntimes;
  /** The topic `config` of Status(verbose). */
  shownConfig(runtimes: LoadedRuntimes): unknown;
}

const text = z.string().default('');
const texts = z.array(z.string()).default([]);
const flag = z.boolean().default(false);

const containerdRuntime = z
  .object({
    runtime_type: text,
    runtime_path: text,
    pod_annotations: texts,
    container_annotations: texts,
    privileged_without_host_devices: flag,
    snapshotter: text,
    options: z.record(z.string(), z.unknown()).nullish(),
  })
  .transform((its): LoadedRuntime => ({
    shimPath: its.runtime_path,
    shown: {
      runtimeType: its.runtime_type,
      runtimePath: its.runtime_path,
      PodAnnotations: its.pod_annotations,
      ContainerAnnotations: its.container_annotations,
      privileged_without_host_devices: its.privileged_without_host_devices,
      snapshotter: its.snapshotter,
      options: its.options ?? {},
    },
  }));

const criPlugin = z.object({
  containerd: z.object({ runtimes: z.record(z.string(), containerdRuntime) }),
});
const shown = (runtimes: LoadedRuntimes): Record<string, unknown> =>
  Object.fromEntries(Object.entries(runtimes).map(([handler, its]) => [handler, its.shown]));

export const CONTAINERD_CONFIG = '/etc/containerd/config.toml';

function containerd(version: string, plugin: string, listsHandlers: boolean): EngineKind {
  const dumped = z.object({ plugins: z.record(z.string(), z.unknown()) });
  return {
    unit: 'containerd.service',
    binary: '/usr/bin/containerd',
    args: ['--config', CONTAINERD_CONFIG],
    socket: '/run/containerd/containerd.sock',
    version: ['containerd', version],
    dumpArgs: ['--config', CONTAINERD_CONFIG, 'config', 'dump'],
    reloads: false,
    listsHandlers,
    runtimesOf: (dump) => criPlugin.parse(dumped.parse(dump).plugins[plugin]).containerd.runtimes,
    shownConfig: (runtimes) => ({ containerd: { runtimes: shown(runtimes) } }),
  };
}

export const CONTAINERD_2 = containerd('v2.4.2', 'io.containerd.cri.v1.runtime', true);
export const CONTAINERD_1 = containerd('1.7.24', 'io.containerd.grpc.v1.cri', false);

const crioRuntime = z
  .object({
    runtime_path: text,
    runtime_type: text,
    runtime_config_path: text,
    privileged_without_host_devices: flag,
  })
  .transform((its): LoadedRuntime => ({
    shimPath: its.runtime_path,
    shown: {
      RuntimePath: its.runtime_path,
      RuntimeType: its.runtime_type,
      RuntimeConfigPath: its.runtime_config_path,
      PrivilegedWithoutHostDevices: its.privileged_without_host_devices,
    },
  }));
const crioDump = z.object({
  crio: z.object({ runtime: z.object({ runtimes: z.record(z.string(), crioRuntime) }) }),
});

export const CRIO_CONFIG = '/etc/crio/crio.conf';
export const CRIO_DROP_INS = '/etc/crio/crio.conf.d';

export const CRIO: EngineKind = {
  unit: 'crio.service',
  binary: '/usr/bin/crio',
  args: [],
  socket: '/run/crio/crio.sock',
  version: ['cri-o', '1.34.0'],
  dumpArgs: ['--config', CRIO_CONFIG, '--config-dir', CRIO_DROP_INS, 'config'],
  reloads: true,
  listsHandlers: true,
  runtimesOf: (dump) => crioDump.parse(dump).crio.runtime.runtimes,
  shownConfig: (runtimes) => ({ crio: { Runtimes: shown(runtimes) } }),
};
