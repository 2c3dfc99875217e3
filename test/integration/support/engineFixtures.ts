/**
 * Configurations of containerd as administrators write them, for a process with directories of its own.
 * Every one sets things whose loss would be seen: sandbox image, registry directory, a runtime of somebody else.
 */

export interface Place {
  readonly directory: string;
  readonly socket: string;
}

const top = (
  version: number,
  { directory, socket }: Place,
): string => `# Managed by the platform team. Ask before you change it!
version = ${version}   # do not touch
root = '${directory}/root'
state = "${directory}/state"

[grpc]
\taddress = "${socket}" # a tab before, a comment behind
  max_recv_message_size = 0x100_0000

`;

const version2 = (place: Place): string => `${top(2, place)}[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.example/pause:3.10"
\t[plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "${place.directory}/cni"
    max_conf_num = 1_0
  [plugins.'io.containerd.grpc.v1.cri'.containerd]
    default_runtime_name = "runc"
    # [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-fc]
    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      options = { SystemdCgroup = true } # inline, theirs
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes."crun"]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
`;

const version3 = (
  place: Place,
): string => `${top(3, place)}[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'registry.example/pause:3.10'
[plugins.'io.containerd.cri.v1.images'.registry]
\tconfig_path = "/etc/containerd/certs.d"
[plugins."io.containerd.cri.v1.runtime".cni]
  conf_dir = "${place.directory}/cni"
  bin_dirs = [ # several
    "/opt/cni/bin", # ours
    "/usr/lib/cni",
  ]
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = 'runc'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes."crun"]
  runtime_type = "io.containerd.runc.v2"
`;

const minimal =
  (version: number) =>
  (place: Place): string =>
    `version=${version}\nroot="${place.directory}/root"\nstate="${place.directory}/state"\ngrpc.address="${place.socket}"\n`;

const crlf = (text: string): string => text.replaceAll('\n', '\r\n');
const withoutFinalNewline = (text: string): string => text.replace(/\r?\n$/, '');

export interface Fixture {
  readonly name: string;
  readonly text: (place: Place) => string;
  /** Handlers besides runc that the fixture itself defines. */
  readonly foreign: readonly string[];
}

/** Fixtures of a file version that must be accepted. */
export function fixturesOf(version: 2 | 3): readonly Fixture[] {
  const admin = version === 2 ? version2 : version3;
  return [
    { name: 'comments, tabs and quoted keys', text: admin, foreign: ['crun'] },
    { name: 'CRLF line ends', text: (place) => crlf(admin(place)), foreign: ['crun'] },
    {
      name: 'no final newline',
      text: (place) => withoutFinalNewline(admin(place)),
      foreign: ['crun'],
    },
    {
      name: 'CRLF without a final newline',
      text: (place) => withoutFinalNewline(crlf(admin(place))),
      foreign: ['crun'],
    },
    {
      name: 'a comment as last line without newline',
      text: (place) => `${admin(place)}# the end`,
      foreign: ['crun'],
    },
    // Debian's package installs such a file: no runtime is defined, so runc comes from containerd's defaults.
    { name: 'almost nothing', text: minimal(version), foreign: [] },
  ];
}

/** A file whose parents are inline tables: no table can be added below them. */
export function inlineFixture(version: 2 | 3, place: Place): string {
  const plugin = version === 2 ? 'io.containerd.grpc.v1.cri' : 'io.containerd.cri.v1.runtime';
  return `${top(version, place)}[plugins]\n"${plugin}" = { containerd = { default_runtime_name = "runc", runtimes = { runc = { runtime_type = "io.containerd.runc.v2" } } } }\n`;
}
