/**
 * Everything a cluster needs before its first container: an engine, kernel limits, binaries, images.
 *
 * Owns the order. It must never start a cluster.
 */
import { buildComponents } from './components.ts';
import { ensureDocker } from './docker.ts';
import { buildImages, prepareRootFileSystem } from './images.ts';
import { ensureLimits } from './machine.ts';
import type { Progress } from './progress.ts';

/** Builds and starts what is missing; a second call takes less than a second. */
export async function prepareMachine(progress: Progress, signal?: AbortSignal): Promise<void> {
  await ensureDocker(progress);
  await ensureLimits(progress);
  const stop = new AbortController();
  const both = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  try {
    await Promise.all([
      buildComponents(progress, undefined, both),
      prepareRootFileSystem(progress, both),
    ]);
  } catch (error) {
    stop.abort(error); // the other one, where only one of them failed
    throw error;
  }
  await buildImages(progress, signal);
}
