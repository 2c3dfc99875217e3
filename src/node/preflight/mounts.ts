/**
 * Whether a path of the host can be written and executed from, told from the host's own mount table: in a Pod our
 * view of the host is read-only by design and says nothing.
 */
import { readFile } from 'node:fs/promises';
import { KataError } from '../../errors.ts';
import { resolveOnHost } from '../host/hostFile.ts';
import type { Host } from '../host/host.ts';

export interface Mount {
  readonly mountPoint: string;
  readonly readOnly: boolean;
  /** Programs on it cannot be started. */
  readonly noExec: boolean;
  readonly fileSystem: string;
}

/** Lines of /proc/PID/mountinfo, in their order: a later mount covers an earlier one. */
export function parseMountInfo(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , , mountPoint, options] = before.split(' ');
    const [fileSystem, , superOptions] = after.split(' ');
    if (mountPoint === undefined || options === undefined || fileSystem === undefined) return [];
    const readOnly = [options, superOptions ?? ''].some((list) => list.split(',').includes('ro'));
    const noExec = options.split(',').includes('noexec');
    return [{ mountPoint: unescape(mountPoint), readOnly, noExec, fileSystem }];
  });
}

/** The mount that a path lies on. */
export function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  let best: Mount | undefined;
  for (const mount of mounts) {
    const { mountPoint } = mount;
    const covers = mountPoint === '/' || path === mountPoint || path.startsWith(`${mountPoint}/`);
    if (covers && (best === undefined || mountPoint.length >= best.mountPoint.length)) best = mount;
  }
  return best;
}

/** Throws KATA_E_NOT_WRITABLE for the first path on a read-only file system. Silent where the host shows no mount table. */
export async function requireWritable(host: Host, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const mount = await mountAt(host, path);
    if (mount?.readOnly === true) {
      throw new KataError('KATA_E_NOT_WRITABLE', {
        path,
        cause: `${mount.mountPoint} (${mount.fileSystem}) is mounted read-only`,
      });
    }
  }
}

/** Throws KATA_E_NOT_EXECUTABLE where the engine could not start a shim. Silent where the host shows no mount table. */
export async function requireExecutable(host: Host, path: string): Promise<void> {
  const mount = await mountAt(host, path);
  if (mount?.noExec === true)
    throw new KataError('KATA_E_NOT_EXECUTABLE', { path, mountPoint: mount.mountPoint });
}

async function mountAt(host: Host, path: string): Promise<Mount | undefined> {
  const text = await readFile(host.at('/proc/1/mountinfo'), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  return mountOf(await resolveOnHost(host, path), parseMountInfo(text));
}

/** Spaces and the like are octal in mountinfo (`\040`). */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
