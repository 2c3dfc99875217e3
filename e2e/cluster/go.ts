/**
 * Finds a Go toolchain that is new enough for the components.
 *
 * Owns the choice of toolchain. Checksums and proxies are Go's own business: it must never download one
 * past them.
 */
import { join } from 'node:path';
import { CACHE } from './paths.ts';
import { output, PATH_DIRECTORIES, which } from './process.ts';

/** What the `go` lines of e2e/components ask for. */
const GO_MINIMUM = 26;
/** From this release on, Go fetches the toolchain that a module asks for. */
const GO_SELF_UPDATING = 21;

export interface GoToolchain {
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * The first usable Go of PATH, /usr/local/go and the cache (where hack/bootstrap.sh puts one).
 * @throws Error when there is none
 */
export async function findGo(): Promise<GoToolchain> {
  const tooOld: string[] = [];
  for (const directory of [...PATH_DIRECTORIES, '/usr/local/go/bin', join(CACHE, 'go/bin')]) {
    const path = await which('go', [directory]);
    if (path === undefined) continue;
    const version = await output([path, 'version'], { env: { GOTOOLCHAIN: 'local' } });
    const minor = Number(/go1\.(\d+)/.exec(version)?.[1] ?? 0);
    if (minor >= GO_SELF_UPDATING) {
      return { path, env: environment(minor >= GO_MINIMUM ? 'local' : 'auto') };
    }
    tooOld.push(`${path} is ${version}`);
  }
  const found = tooOld.length === 0 ? 'Go is not installed' : tooOld.join(', ');
  throw new Error(`${found}: run hack/bootstrap.sh, or install Go 1.${GO_MINIMUM} or newer`);
}

function environment(toolchain: 'local' | 'auto'): Record<string, string> {
  return { CGO_ENABLED: '0', GOFLAGS: '-mod=readonly', GOWORK: 'off', GOTOOLCHAIN: toolchain };
}
