/**
 * Versions on the host: `/opt/kata/versions/<digest>`, immutable once its marker is there.
 *
 * Owns the life of a version's directory, from `.partial` over rename to removal. No path of a complete
 * version is ever written again.
 */
import { mkdir, open, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import { syncFile } from '../host/hostFile.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';
import {
  parseManifest,
  parseSummary,
  type VersionManifest,
  type VersionSummary,
} from './manifest.ts';
import { COMPLETE_MARKER } from './treeModel.ts';

export type { VersionManifest, VersionSummary } from './manifest.ts';

/** Ends the name of what is not complete, or not any more. */
export const PARTIAL = '.partial';
const ASIDE = `.damaged${PARTIAL}`;

/** Path on the host. */
export function versionPath(digest: string): string {
  return join(HOST_PATHS.versions, digest);
}

/** Undefined when there is no such version, or when it is not complete. Reads the marker and nothing else. */
export async function readVersion(host: Host, digest: string): Promise<VersionSummary | undefined> {
  const text = await readMarker(host, digest);
  return text === undefined ? undefined : parseSummary(text, digest);
}

/** As `readVersion`, with every entry. */
export async function readManifest(
  host: Host,
  digest: string,
): Promise<VersionManifest | undefined> {
  const text = await readMarker(host, digest);
  return text === undefined ? undefined : parseManifest(text, digest);
}

async function readMarker(host: Host, digest: string): Promise<string | undefined> {
  const marker = join(versionPath(digest), COMPLETE_MARKER);
  try {
    return await readFile(host.at(marker), 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw ioError(marker, error);
  }
}

/** An empty directory to unpack into. What an earlier attempt left there is removed. Returns its path on the host. */
export async function beginPartial(host: Host, digest: string): Promise<string> {
  const path = versionPath(digest) + PARTIAL;
  try {
    await rm(host.at(path), { recursive: true, force: true });
    await mkdir(host.at(path), { mode: 0o755 });
  } catch (error) {
    throw ioError(path, error);
  }
  return path;
}

export async function discardPartial(host: Host, digest: string): Promise<void> {
  await rm(host.at(versionPath(digest) + PARTIAL), { recursive: true, force: true });
}

/** Everything in the partial directory must be on disk before this is called. */
export async function completeVersion(host: Host, manifest: VersionManifest): Promise<void> {
  const path = versionPath(manifest.digest);
  const partial = path + PARTIAL;
  try {
    const marker = await open(host.at(join(partial, COMPLETE_MARKER)), 'wx', 0o644);
    try {
      await marker.writeFile(`${JSON.stringify(manifest)}\n`);
      await marker.sync();
    } finally {
      await marker.close();
    }
    await syncFile(host.at(partial));
    await moveAside(host, path);
    await rename(host.at(partial), host.at(path));
    await syncFile(host.at(HOST_PATHS.versions));
    await rm(host.at(path + ASIDE), { recursive: true, force: true });
  } catch (error) {
    throw ioError(path, error);
  }
}

/**
 * Only a directory without a valid marker can be there: readVersion would have found a complete one. Something
 * may run from it all the same, so that the new one takes its place at once.
 */
async function moveAside(host: Host, path: string): Promise<void> {
  await rm(host.at(path + ASIDE), { recursive: true, force: true });
  await rename(host.at(path), host.at(path + ASIDE)).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}

/** Renames before it removes, so that no half of a version is ever found under its name. */
export async function removeVersion(host: Host, digest: string): Promise<void> {
  const path = versionPath(digest);
  try {
    await discardPartial(host, digest);
    await rename(host.at(path), host.at(path + PARTIAL));
    await discardPartial(host, digest);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw ioError(path, error);
  }
}

/** Removes what interrupted attempts left, save that of `keep`. Whether all of it goes changes nothing. */
export async function collectPartials(host: Host, keep: string): Promise<void> {
  const names = await readdir(host.at(HOST_PATHS.versions)).catch(() => []);
  for (const name of names) {
    if (name.endsWith(PARTIAL) && name !== keep + PARTIAL) {
      const at = host.at(join(HOST_PATHS.versions, name));
      await rm(at, { recursive: true, force: true }).catch(() => undefined);
    }
  }
}

/** The complete versions on the host. */
export async function listVersions(host: Host): Promise<VersionSummary[]> {
  const names = await readdir(host.at(HOST_PATHS.versions)).catch(() => []);
  const found = await Promise.all(
    names.filter((name) => !name.endsWith(PARTIAL)).map((name) => readVersion(host, name)),
  );
  return found.filter((version) => version !== undefined);
}

/** True when the path exists inside the version. */
export async function versionHolds(host: Host, digest: string, path: string): Promise<boolean> {
  return stat(host.at(join(versionPath(digest), path))).then(
    () => true,
    () => false,
  );
}
