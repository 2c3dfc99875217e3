/**
 * Finds a Go toolchain that is new enough for the components.
 *
 * Owns the choice of toolchain. Checksums and proxies are Go's own business: it must never download one
 * past them.
 */
import { CACHE } from './paths.ts';
import { join } from 'node:path';
import { output, PATH_DIRECTORIES, which } from './process.ts';

/** What the `go` lines of e2e/components ask for. */
const GO_MINIMUM: readonly [number, number] = [1, 26];

export interface GoToolchain {
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * A Go from PATH, from /usr/local/go or from the cache (where hack/bootstrap.sh puts one). One between
 * 1.21 and 1.26 fetches the newer toolchain by itself, from the module proxy.
 */
export async function findGo(): Promise<GoToolchain> {
  const path = await which('go', [...PATH_DIRECTORIES, '/usr/local/go/bin', join(CACHE, 'go/bin')]);
  if (path === undefined) {
    throw new Error('Go is not installed: run hack/bootstrap.sh, or install Go 1.26 or newer');
  }
  const own = await output([path, 'version'], { env: { GOTOOLCHAIN: 'local' } });
  const match = /go(\d+)\.(\d+)/.exec(own);
  const [major, minor] = [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)];
  if (major === 1 && minor < 21) {
    throw new Error(`${own} is too old: run hack/bootstrap.sh, or install Go 1.26 or newer`);
  }
  const isNewEnough = major > GO_MINIMUM[0] || minor >= GO_MINIMUM[1];
  return {
    path,
    env: {
      CGO_ENABLED: '0',
      GOFLAGS: '-mod=readonly',
      GOWORK: 'off',
      ...(isNewEnough ? { GOTOOLCHAIN: 'local' } : { GOTOOLCHAIN: 'auto' }),
    },
  };
}
