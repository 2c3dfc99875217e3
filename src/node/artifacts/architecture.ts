/**
 * Names of architectures, of which there are three kinds: Go's, Node's and the kernel's.
 */

const FROM_NODE: Readonly<Record<string, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  s390x: 's390x',
  ppc64: 'ppc64le',
};
const FROM_MACHINE: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  aarch64: 'arm64',
  ppc64le: 'ppc64le',
  s390x: 's390x',
};

/** Go's name for what `process.arch` says (`x64` is `amd64`); the name itself when it is unknown. */
export function goArchitecture(nodeArchitecture: string): string {
  return FROM_NODE[nodeArchitecture] ?? nodeArchitecture;
}

/** False when a release archive's name says that it is for another architecture (`kata-static-4.1.0-arm64.tar.zst`). */
export function fileNamedFor(fileName: string, architecture: string): boolean {
  const named = /-(amd64|arm64|x86_64|aarch64|s390x|ppc64le)\.tar\.[a-z]+$/.exec(fileName)?.[1];
  return named === undefined || (FROM_MACHINE[named] ?? named) === architecture;
}
