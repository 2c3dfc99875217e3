/**
 * Every runtime that Kata Containers 4.1 ships a configuration for, and where its files are.
 *
 * Owns the facts: names, architectures, file names inside the artifacts, overhead of a sandbox. Taken from
 * the build of Kata 4.1.0. It must never do I/O, nor know about a cluster or a node.
 *
 * Paths are relative to a version's directory (`/opt/kata` in the archives). Quantities are in Kubernetes'
 * canonical form, so that what is applied equals what is read back.
 */
import { ARCHITECTURES } from '../crds/artifacts.ts';

export type Architecture = (typeof ARCHITECTURES)[number];

export interface CatalogueEntry {
  /** `fc`; its handler and RuntimeClass are `kata-fc`. */
  readonly name: string;
  /** Language of the shim. Its options and its place in the artifacts follow from it. */
  readonly runtime: 'go' | 'rust';
  /** `qemu`, `clh`, `firecracker`, `dragonball`, `stratovirt`, `openvmm`, `remote` */
  readonly hypervisor: string;
  readonly architectures: readonly Architecture[];
  /** What one sandbox costs beside its containers: `overhead.podFixed` of the RuntimeClass. */
  readonly overhead: { readonly cpu: string; readonly memory: string };
  /** The containerd snapshotter without which this runtime cannot start a container. */
  readonly snapshotter?: string;
  /** The release archive that holds the shim and the configuration. */
  readonly archive: 'kata-static' | 'kata-go-static';
  readonly shimPath: string;
  readonly configurationPath: string;
  /** The hypervisor's binary, where it has the same name on every architecture (QEMU's has not). */
  readonly hypervisorPath?: string;
  /** Labels that a node must carry for a Pod of this runtime to start there. */
  readonly nodeSelector?: Readonly<Record<string, string>>;
  /** Counted resources that one sandbox takes: part of the overhead, where the node offers them. */
  readonly extendedResources?: Readonly<Record<string, string>>;
}

type Variation = Partial<
  Pick<CatalogueEntry, 'snapshotter' | 'hypervisorPath' | 'nodeSelector' | 'extendedResources'>
>;

const SMALL = { cpu: '250m', memory: '130Mi' } as const;
const QEMU = { cpu: '250m', memory: '320Mi' } as const;
const CONFIDENTIAL = { cpu: '1', memory: '2Gi' } as const;
const SECURE_EXECUTION = { cpu: '1', memory: '1Gi' } as const;
const GPU = { cpu: '1', memory: '10Gi' } as const;

const AMD64: readonly Architecture[] = ['amd64'];
const AMD64_ARM64: readonly Architecture[] = ['amd64', 'arm64'];
const S390X: readonly Architecture[] = ['s390x'];

const CLH = { hypervisorPath: 'bin/cloud-hypervisor' } as const;
const FIRECRACKER = { hypervisorPath: 'bin/firecracker', snapshotter: 'devmapper' } as const;
// Images of confidential guests are pulled inside the guest; on the host that is nydus' part.
const GUEST_PULL = { snapshotter: 'nydus' } as const;
const SNP_LABEL = { 'amd.feature.node.kubernetes.io/snp': 'true' } as const;
const TDX_LABEL = { 'intel.feature.node.kubernetes.io/tdx': 'true' } as const;
const SE_LABEL = { 'feature.node.kubernetes.io/cpu-security.se.enabled': 'true' } as const;
const CC_READY = { 'nvidia.com/cc.ready.state': 'true' } as const;
const SNP = {
  ...GUEST_PULL,
  nodeSelector: SNP_LABEL,
  extendedResources: { 'sev-snp.amd.com/esids': '1' },
};
const TDX = {
  ...GUEST_PULL,
  nodeSelector: TDX_LABEL,
  extendedResources: { 'tdx.intel.com/keys': '1' },
};
const SE = { ...GUEST_PULL, nodeSelector: SE_LABEL };
const GPU_PLAIN = { nodeSelector: { 'nvidia.com/cc.ready.state': 'false' } };
const GPU_SNP = { ...SNP, nodeSelector: { ...CC_READY, ...SNP_LABEL } };
const GPU_TDX = { ...TDX, nodeSelector: { ...CC_READY, ...TDX_LABEL } };

type Overhead = CatalogueEntry['overhead'];

function go(
  name: string,
  hypervisor: string,
  architectures: readonly Architecture[],
  overhead: Overhead,
  variation: Variation = {},
): CatalogueEntry {
  return {
    name,
    runtime: 'go',
    hypervisor,
    architectures,
    overhead,
    archive: 'kata-go-static',
    shimPath: 'bin/containerd-shim-kata-v2',
    configurationPath: `share/defaults/kata-containers/configuration-${name}.toml`,
    ...variation,
  };
}

function rust(
  name: string,
  hypervisor: string,
  architectures: readonly Architecture[],
  overhead: Overhead,
  variation: Variation = {},
): CatalogueEntry {
  return {
    name,
    runtime: 'rust',
    hypervisor,
    architectures,
    overhead,
    archive: 'kata-static',
    shimPath: 'runtime-rs/bin/containerd-shim-kata-v2',
    configurationPath: `share/defaults/kata-containers/runtime-rs/configuration-${name}.toml`,
    ...variation,
  };
}

export const CATALOGUE: readonly CatalogueEntry[] = [
  go('qemu', 'qemu', ARCHITECTURES, QEMU),
  go('clh', 'clh', AMD64_ARM64, SMALL, CLH),
  go('fc', 'firecracker', AMD64_ARM64, SMALL, FIRECRACKER),
  go('clh-azure', 'clh', AMD64, SMALL, CLH),
  // A configuration is released for arm64 too, but the binary is not.
  go('stratovirt', 'stratovirt', AMD64, SMALL, { hypervisorPath: 'bin/stratovirt' }),
  go(
    'remote',
    'remote',
    ['amd64', 's390x', 'ppc64le'],
    { cpu: '250m', memory: '120Mi' },
    GUEST_PULL,
  ),
  go('qemu-coco-dev', 'qemu', ['amd64', 's390x'], { cpu: '250m', memory: '160Mi' }, GUEST_PULL),
  go('qemu-snp', 'qemu', AMD64, CONFIDENTIAL, SNP),
  go('qemu-tdx', 'qemu', AMD64, CONFIDENTIAL, TDX),
  go('qemu-se', 'qemu', S390X, SECURE_EXECUTION, SE),
  go('qemu-nvidia-cpu', 'qemu', AMD64_ARM64, QEMU),
  go('qemu-nvidia-gpu', 'qemu', AMD64, GPU, GPU_PLAIN),
  go('qemu-nvidia-gpu-snp', 'qemu', AMD64, GPU, GPU_SNP),
  go('qemu-nvidia-gpu-tdx', 'qemu', AMD64, GPU, GPU_TDX),

  rust('qemu-runtime-rs', 'qemu', ARCHITECTURES, QEMU),
  // On arm64 the binary is released, but no configuration: the Rust runtime builds none there.
  rust('clh-runtime-rs', 'clh', AMD64, SMALL, CLH),
  rust('clh-azure-runtime-rs', 'clh', AMD64, SMALL, CLH),
  rust('dragonball', 'dragonball', AMD64_ARM64, SMALL),
  rust('rs-fc', 'firecracker', AMD64_ARM64, SMALL, FIRECRACKER),
  rust('openvmm-azure-runtime-rs', 'openvmm', AMD64, SMALL, { hypervisorPath: 'bin/openvmm' }),
  rust('qemu-coco-dev-runtime-rs', 'qemu', ['amd64', 'arm64', 's390x'], QEMU, GUEST_PULL),
  rust('qemu-snp-runtime-rs', 'qemu', AMD64, CONFIDENTIAL, SNP),
  rust('qemu-tdx-runtime-rs', 'qemu', AMD64, CONFIDENTIAL, TDX),
  rust('qemu-se-runtime-rs', 'qemu', S390X, SECURE_EXECUTION, SE),
  rust('qemu-nvidia-cpu-runtime-rs', 'qemu', AMD64_ARM64, QEMU),
  rust('qemu-nvidia-gpu-runtime-rs', 'qemu', AMD64, GPU, GPU_PLAIN),
  rust('qemu-nvidia-gpu-snp-runtime-rs', 'qemu', AMD64, GPU, GPU_SNP),
  rust('qemu-nvidia-gpu-tdx-runtime-rs', 'qemu', AMD64, GPU, GPU_TDX),
];

const byName = new Map(CATALOGUE.map((entry) => [entry.name, entry]));

/** The entry of that name (`fc`, not `kata-fc`). */
export function findRuntime(name: string): CatalogueEntry | undefined {
  return byName.get(name);
}

/**
 * The catalogue's name that a person most likely meant, for "did you mean …". Undefined when nothing is
 * near: a wrong guess is worse than none. A leading `kata-` is forgiven, since the handler has it.
 */
export function nearestName(name: string): string | undefined {
  const wanted = name.toLowerCase().replace(/^kata-/, '');
  let best: { name: string; distance: number } | undefined;
  for (const candidate of byName.keys()) {
    const distance = editDistance(wanted, candidate);
    if (best === undefined || distance < best.distance) best = { name: candidate, distance };
  }
  const tolerated = Math.max(1, Math.floor(wanted.length / 3));
  return best !== undefined && best.distance <= tolerated ? best.name : undefined;
}

/** Insertions, deletions, substitutions and swaps of neighbours, each counted as one. */
export function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? Infinity;
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          at(i - 1, j) + 1,
          at(i, j - 1) + 1,
          at(i - 1, j - 1) + (same ? 0 : 1),
          swapped ? at(i - 2, j - 2) + 1 : Infinity,
        ),
      );
    }
  }
  return at(a.length, b.length);
}
