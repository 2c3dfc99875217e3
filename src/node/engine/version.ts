/**
 * Which release an engine's binary is, and whether its configuration is known here. Runs nothing but the binary's own
 * `--version`; how releases compare is engine.ts.
 */
import { stat } from 'node:fs/promises';
import { KataError } from '../../errors.ts';
import { execOnHost } from '../host/exec.ts';
import type { Host } from '../host/host.ts';
import { resolveOnHost } from '../host/hostFile.ts';
import { describeEngine, type Engine, type EngineName, isAtLeast } from './engine.ts';

/** Oldest release whose configuration is known here. */
const OLDEST: Readonly<Record<EngineName, readonly [number, number]>> = {
  containerd: [1, 6],
  crio: [1, 20],
};
const VERSION_TIMEOUT_MS = 20_000;

/** Throws KATA_E_ENGINE_UNSUPPORTED. */
export function assertNotTooOld(engine: Engine): void {
  const [major, minor] = OLDEST[engine.name];
  if (isAtLeast(engine, major, minor)) return;
  throw new KataError('KATA_E_ENGINE_UNSUPPORTED', {
    engine: describeEngine(engine),
    cause: `it is older than ${describeEngine({ ...engine, version: `${major}.${minor}` })}`,
  });
}

export type BinaryVersion = Pick<Engine, 'version' | 'binaryIdentity'>;

/** What binaries have said to this process, or to an earlier one. One that was replaced since is another file. */
const known = new Map<string, string>();

/** What an earlier run was told by a binary: as long as it is the same file it would say the same. */
export function recallVersion({ version, binaryIdentity }: BinaryVersion): void {
  if (binaryIdentity !== undefined) known.set(binaryIdentity, version);
}

/** Asks the binary itself, once. Throws KATA_E_ENGINE_UNSUPPORTED when its answer cannot be read. */
export async function versionOf(
  host: Host,
  binaryPath: string,
  signal: AbortSignal,
): Promise<BinaryVersion> {
  const binaryIdentity = await identityOf(host, binaryPath);
  const told = binaryIdentity === undefined ? undefined : known.get(binaryIdentity);
  const version = told ?? (await askForVersion(host, binaryPath, signal));
  recallVersion({ version, binaryIdentity });
  return { version, binaryIdentity };
}

/** Undefined when it cannot be told: the attempt to run it says why. */
async function identityOf(host: Host, path: string): Promise<string | undefined> {
  try {
    const file = await stat(host.at(await resolveOnHost(host, path)), { bigint: true });
    return [file.dev, file.ino, file.size, file.mtimeNs, file.ctimeNs].join();
  } catch {
    return undefined;
  }
}

async function askForVersion(host: Host, binaryPath: string, signal: AbortSignal): Promise<string> {
  const { code, stdout, stderr } = await execOnHost(host, [binaryPath, '--version'], {
    timeoutMs: VERSION_TIMEOUT_MS,
    signal,
  });
  const version = coerceVersion(stdout);
  if (code === 0 && version !== undefined) return version;
  throw new KataError('KATA_E_ENGINE_UNSUPPORTED', {
    engine: binaryPath,
    cause: `its version is unreadable: ${(stdout + stderr).trim().slice(0, 200)}`,
  });
}

/** Of `containerd github.com/containerd/containerd/v2 v2.4.2 <hash>` and its kin (`1.7.24~ds1`, `2.1.9+unknown`). */
export function coerceVersion(output: string): string | undefined {
  const match = /(?:^|\s)v?(\d+\.\d+\.\d+)(?=[-+~\s]|$)/m.exec(output);
  return match?.[1];
}
