/**
 * The directory of a drop-in, where it has to be made: the record says that it is ours before it is there, so that it
 * goes again whatever happens in between.
 */
import { mkdir, rmdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Host } from '../host/host.ts';
import { existsOnHost, syncFile } from '../host/hostFile.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { EngineRecord } from './record.ts';

/** Returns it when it had to be made. `announce` puts it on record. Throws KATA_E_IO. */
export async function makeDirectory(
  host: Host,
  directory: string,
  announce: (directory: string) => Promise<void>,
): Promise<string | undefined> {
  if (await existsOnHost(host, directory)) return undefined;
  await announce(directory);
  try {
    await mkdir(host.at(directory), { mode: 0o755 });
    await syncFile(host.at(dirname(directory)));
  } catch (error) {
    throw ioError(directory, error);
  }
  return directory;
}

/** True when nothing but a directory was made so far. */
export function isOnlyAnnounced({ change, handlers }: EngineRecord): boolean {
  return change === undefined && handlers.length === 0;
}

/** It stays when somebody else has put something there. Throws KATA_E_IO. */
export async function removeCreatedDirectory(
  host: Host,
  known: EngineRecord | undefined,
): Promise<void> {
  const directory = known?.original.createdDirectory;
  if (directory === undefined) return;
  try {
    await rmdir(host.at(directory));
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? ''))
      throw ioError(directory, error);
  }
}
