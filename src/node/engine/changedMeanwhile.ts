/**
 * When somebody else writes to the engine's file while it is being edited, the edit begins anew from what they wrote:
 * nothing of theirs is lost, and the run does not fail for it.
 *
 * Bounded: a file that never rests is somebody's mistake, and theirs to find.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { toKataError } from '../../errors.ts';
import type { Host } from '../host/host.ts';
import { assertUnchanged, readHostFile } from '../host/hostFile.ts';

const TRIES = 5;
const PAUSE_MS = 200;

/** `work` reads the file anew each time. Throws KATA_E_CONFIG_CHANGED when there were others every time. */
export async function againWhenChanged<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (tries === TRIES || toKataError(error).code !== 'KATA_E_CONFIG_CHANGED') throw error;
      await sleep(PAUSE_MS * tries, undefined, { signal });
    }
  }
}

/**
 * What is wrong with a file that somebody was just writing is not wrong with it: throws KATA_E_CONFIG_CHANGED instead of
 * what `judge` throws when the file is another one afterwards. `judge` must not write to it.
 */
export async function orChanged<T>(host: Host, path: string, judge: () => Promise<T>): Promise<T> {
  const before = await readHostFile(host, path);
  try {
    return await judge();
  } catch (error) {
    await assertUnchanged(host, before);
    throw error;
  }
}
