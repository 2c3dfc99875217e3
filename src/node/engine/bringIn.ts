/**
 * Making the running engine take over its file: by a reload where it can, else by a restart, in a moment in which it
 * creates nothing. One try of each, never more.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { toKataError } from '../../errors.ts';
import type { StepEffect } from '../transaction/step.ts';
import { type ChangeOptions, needsRestart } from './configFile.ts';
import { waitForQuiet } from './quiet.ts';
import { restartAndWait } from './serving.ts';

/** CRI-O takes over its runtimes within milliseconds, older ones not at all; k0s starts its containerd again. */
const RELOAD_TIMEOUT_MS = { crio: 3_000, containerd: 20_000 } as const;
const INTERVAL_MS = 50;

/** Throws KATA_E_ENGINE_RESTART. */
export async function bringIn(options: ChangeOptions, signal: AbortSignal): Promise<StepEffect> {
  const { engine, host, guard, restarter } = options;
  await guard.markRestart();
  if (await reloaded(options, signal)) return { engineRestarts: 0 };
  await waitForQuiet(host, engine, signal);
  const outageMs = await restartAndWait(host, engine, restarter(), signal);
  return { engineRestarts: 1, outageMs };
}

/** False when the engine cannot reload, or does not take over its runtimes by it. */
async function reloaded(options: ChangeOptions, signal: AbortSignal): Promise<boolean> {
  const { reload } = options.restarter();
  if (reload === undefined) return false;
  try {
    await reload(signal);
  } catch (error) {
    // The unit may have no ExecReload: a restart says more, and does more.
    if (signal.aborted || toKataError(error).code === 'KATA_E_INTERNAL') throw error;
    return false;
  }
  const deadline = performance.now() + RELOAD_TIMEOUT_MS[options.engine.name];
  while (performance.now() < deadline) {
    if (!(await needsRestart(options, signal))) return true;
    await sleep(INTERVAL_MS, undefined, { signal });
  }
  return false;
}
