/**
 * The hosts on which runs are interrupted: one for each way in which an engine is given its handlers, with the files
 * of its administrator.
 */
import { join } from 'node:path';
import { debianArchitecture, unpackedPackages } from '../../e2e/cluster/debian.ts';
import { engineBinary } from '../../e2e/cluster/engines.ts';
import { crioBinary } from '../../test/integration/support/crioBinary.ts';
import {
  CONTAINERD_1,
  CONTAINERD_2,
  CONTAINERD_CONFIG,
  CRIO,
  CRIO_CONFIG,
  CRIO_DROP_INS,
  type EngineKind,
} from './engineKinds.ts';

export interface Machine {
  readonly name: string;
  readonly kind: EngineKind;
  /** The administrator's files, and what the engine reads of the kernel, by path. */
  readonly files: Readonly<Record<string, string>>;
  /** Every path, without the leading slash, that the engine reads as configuration: nothing half-made may lie there. */
  readonly reads: RegExp;
  /** The engine's binary and what it needs: path on the host → path here. */
  binaries(): Promise<Readonly<Record<string, string>>>;
}

export const ADMIN_CONFIG = `# Managed by the platform team. Ask before you change it!
version = 3   # do not touch

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"

[plugins.'io.containerd.cri.v1.runtime'.containerd]
\tdefault_runtime_name = "runc"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
# the end, without a newline`;

const SCHEMA_2_CONFIG = `version = 2\r
# from Windows\r
[plugins."io.containerd.grpc.v1.cri"]\r
  sandbox_image = "registry.example/pause:3.10"\r
[plugins."io.containerd.grpc.v1.cri".containerd]\r
  default_runtime_name = "runc"\r
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\r
  runtime_type = "io.containerd.runc.v2"\r
  options = { SystemdCgroup = true } # inline\r
`;

const CRIO_ADMIN_CONFIG = `# Maintained by the platform team.
[crio.runtime]
default_runtime = "runc"
[crio.runtime.runtimes.runc]
runtime_path = "/usr/bin/runc"
runtime_type = "oci"
`;

const containerd2 = async (): Promise<Record<string, string>> => ({
  [CONTAINERD_2.binary]: await engineBinary('2.4'),
});

/** Debian's binary with its loader and C library, from which it is run in a root of its own. */
async function containerd1(): Promise<Record<string, string>> {
  // The wrapper that it returns works outside of a root only; asking for it fetches the packages.
  await engineBinary('1.7');
  const root = await unpackedPackages('trixie', ['containerd', 'libc6', 'libseccomp2']);
  const [triple, loader] =
    debianArchitecture() === 'amd64'
      ? ['x86_64-linux-gnu', '/lib64/ld-linux-x86-64.so.2']
      : ['aarch64-linux-gnu', '/lib/ld-linux-aarch64.so.1'];
  const library = `usr/lib/${triple}`;
  return {
    [CONTAINERD_1.binary]: join(root, 'usr/bin/containerd'),
    [loader]: join(root, library, loader.slice(loader.lastIndexOf('/') + 1)),
    [`/${library}/libc.so.6`]: join(root, library, 'libc.so.6'),
  };
}

export const BLOCK: Machine = {
  name: 'containerd 2.4, block',
  kind: CONTAINERD_2,
  files: { [CONTAINERD_CONFIG]: ADMIN_CONFIG },
  reads: /^etc\/containerd\/(config\.toml|conf\.d\/[^/]*\.toml)$/,
  binaries: containerd2,
};

export const MACHINES: readonly Machine[] = [
  BLOCK,
  {
    ...BLOCK,
    name: 'containerd 2.4, drop-in',
    files: {
      [CONTAINERD_CONFIG]: `imports = ["/etc/containerd/conf.d/*.toml"]\n${ADMIN_CONFIG}`,
      '/etc/containerd/conf.d/10-registry.toml': `version = 3
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"
`,
    },
  },
  {
    ...BLOCK,
    name: 'containerd 1.7, block',
    kind: CONTAINERD_1,
    files: { [CONTAINERD_CONFIG]: SCHEMA_2_CONFIG },
    binaries: containerd1,
  },
  {
    name: 'CRI-O, drop-in',
    kind: CRIO,
    // The directory of the drop-in is missing: it is made, and must go again.
    // CRI-O compares its default capabilities with those of the kernel.
    files: { [CRIO_CONFIG]: CRIO_ADMIN_CONFIG, '/proc/sys/kernel/cap_last_cap': '40\n' },
    reads: new RegExp(`^etc/crio/(crio\\.conf|${CRIO_DROP_INS.slice('/etc/crio/'.length)}/[^/]*)$`),
    binaries: async () => ({ [CRIO.binary]: await crioBinary() }),
  },
];
