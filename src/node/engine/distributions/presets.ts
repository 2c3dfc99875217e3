/**
 * Distributions that run an engine of their own and write its configuration anew at every start: recognised by
 * their paths, and edited where they read what is to stay. And systems that cannot be edited at all, with the reason.
 *
 * Pure. The paths are those of the distributions' documentation.
 */
import { basename, dirname, join } from 'node:path';

export const DISTRIBUTION_NAMES = ['k3s', 'rke2', 'k0s', 'microk8s'] as const;
export type DistributionName = (typeof DISTRIBUTION_NAMES)[number];

export interface Distribution {
  readonly name: DistributionName;
  /** True for a socket, configuration file or executable of this kind. `/var/run` comes as `/run`. */
  readonly matches: (path: string) => boolean;
  /** Units that may run the engine, when its control group does not tell. */
  readonly units: readonly string[];
  /** Where its kubelet is part of another program: that program, and the socket that it uses. */
  readonly kubelet?: { readonly executables: readonly string[]; readonly socket: string };
  /** The file from which it writes the engine's configuration at `configPath`. */
  readonly template?: (configPath: string, engineMajor: number) => Template;
  /** A directory of its own whose files it merges into the engine's configuration, and restarts the engine. */
  readonly dropInDirectory?: string;
}

export interface Template {
  readonly path: string;
  /** First line of a new one, that stands for everything of the distribution. Without it, a missing file is an error. */
  readonly header?: string;
}

/** A comment of Go's templates tells our header from one that an administrator wrote. */
const BASE_TEMPLATE = '{{/* made by kata-operator */}}{{ template "base" . }}';

const rancherTemplate = (configPath: string, engineMajor: number): Template => ({
  path: join(dirname(configPath), engineMajor >= 2 ? 'config-v3.toml.tmpl' : 'config.toml.tmpl'),
  header: BASE_TEMPLATE,
});

const DISTRIBUTIONS: readonly Distribution[] = [
  {
    name: 'rke2',
    matches: (path) => path.startsWith('/var/lib/rancher/rke2/'),
    units: ['rke2-server.service', 'rke2-agent.service'],
    template: rancherTemplate,
  },
  {
    // After RKE2, which has the same socket.
    name: 'k3s',
    matches: (path) => path.startsWith('/var/lib/rancher/k3s/') || path.startsWith('/run/k3s/'),
    units: ['k3s.service', 'k3s-agent.service'],
    kubelet: { executables: ['k3s'], socket: '/run/k3s/containerd/containerd.sock' },
    template: rancherTemplate,
  },
  {
    name: 'k0s',
    matches: (path) =>
      ['/run/k0s/', '/etc/k0s/', '/var/lib/k0s/'].some((start) => path.startsWith(start)),
    units: ['k0sworker.service', 'k0scontroller.service'],
    dropInDirectory: '/etc/k0s/containerd.d',
  },
  {
    name: 'microk8s',
    matches: (path) => path.startsWith('/var/snap/microk8s/') || path.startsWith('/snap/microk8s/'),
    units: ['snap.microk8s.daemon-containerd.service'],
    kubelet: {
      executables: ['kubelite'],
      socket: '/var/snap/microk8s/common/run/containerd.sock',
    },
    template: (configPath) => ({ path: join(dirname(configPath), 'containerd-template.toml') }),
  },
];

/** Programs with a kubelet inside → the socket it uses. */
export const EMBEDDED_KUBELETS: ReadonlyMap<string, string> = new Map(
  DISTRIBUTIONS.flatMap(({ kubelet }) =>
    (kubelet?.executables ?? []).map((executable) => [executable, kubelet?.socket ?? ''] as const),
  ),
);

/** The distribution that one of the paths belongs to. */
export function distributionOf(paths: readonly string[]): Distribution | undefined {
  const plain = paths.map((path) => path.replace(/^\/var\/run\//, '/run/'));
  return DISTRIBUTIONS.find(({ matches }) => plain.some(matches));
}

export function distributionNamed(name: DistributionName): Distribution | undefined {
  return DISTRIBUTIONS.find((distribution) => distribution.name === name);
}

export interface Unsupported {
  readonly name: string;
  readonly cause: string;
}

/** An engine that cannot run Kata's sandboxes for Kubernetes. */
export function unsupportedEngine(paths: readonly string[]): Unsupported | undefined {
  const isCriDockerd = paths.some((path) => /^cri-dockerd?(\.sock)?$/.test(basename(path)));
  if (!isCriDockerd) return undefined;
  return {
    name: 'cri-dockerd',
    cause:
      'Docker cannot run the sandboxes of Kata for Kubernetes; kubelet must use containerd or CRI-O',
  };
}

/** Of /etc/os-release: systems that are configured from outside only, never by a program on the host. */
export function unsupportedSystem(osRelease: string): Unsupported | undefined {
  const id = /^ID=["']?([a-z0-9._-]+)/m.exec(osRelease)?.[1] ?? '';
  if (id === 'talos')
    return {
      name: 'Talos Linux',
      cause:
        'its system is read-only and configured by its own API; use the system extension siderolabs/kata-containers',
    };
  if (id === 'bottlerocket')
    return {
      name: 'Bottlerocket',
      cause:
        'its system is read-only and writes the engine configuration from its settings, which know no other runtimes',
    };
  return undefined;
}
