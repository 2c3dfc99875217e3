/**
 * Engines and distributions that are recognised by their sockets and paths and that this version does not edit:
 * each of them keeps its configuration in a way of its own, so that editing config.toml would be undone or ignored.
 *
 * Pure.
 */

interface Preset {
  readonly name: string;
  readonly cause: string;
  /** True for a socket, configuration file or executable of this kind. */
  readonly matches: (path: string) => boolean;
}

const notYet = (what: string): string =>
  `${what}; this version of kata-operator does not edit it yet`;

const PRESETS: readonly Preset[] = [
  {
    name: 'RKE2',
    cause: notYet('it writes config.toml anew at every start, from a template of its own'),
    matches: (path) => path.startsWith('/var/lib/rancher/rke2/'),
  },
  {
    name: 'k3s',
    cause: notYet('it writes config.toml anew at every start, from a template of its own'),
    matches: (path) => path.startsWith('/var/lib/rancher/k3s/') || path.startsWith('/run/k3s/'),
  },
  {
    name: 'k0s',
    cause: notYet('its containerd is run by k0s, with /etc/k0s/containerd.toml'),
    matches: (path) =>
      path.startsWith('/run/k0s/') ||
      path.startsWith('/etc/k0s/') ||
      path.startsWith('/var/lib/k0s/') ||
      path.startsWith('/run/k0s.'),
  },
  {
    name: 'MicroK8s',
    cause: notYet('it writes config.toml anew at every start, from a template in the snap'),
    matches: (path) => path.startsWith('/var/snap/microk8s/') || path.startsWith('/snap/microk8s/'),
  },
  {
    name: 'cri-dockerd',
    cause:
      'Docker cannot run the sandboxes of Kata for Kubernetes; kubelet must use containerd or CRI-O',
    matches: (path) => /\/cri-dockerd?(\.sock)?$/.test(path) || path.startsWith('/run/cri-dockerd'),
  },
];

/** The preset that one of the paths belongs to. `/var/run` counts as `/run`. */
export function unsupportedPreset(
  paths: readonly string[],
): { readonly name: string; readonly cause: string } | undefined {
  return PRESETS.find(({ matches }) =>
    paths.some((path) => matches(path.replace(/^\/var\/run\//, '/run/'))),
  );
}
