/**
 * Whether a host can hold the guard: its units must survive a loss of power, so /run is no place for them, and systemd
 * reads no other directory that is writable on every host. Only reads.
 */
import { KataError } from '../../../errors.ts';
import type { Host } from '../../host/host.ts';
import { requireWritable } from '../../preflight/mounts.ts';
import { describeEngine, type Engine } from '../engine.ts';
import { UNITS } from './guard.ts';

/** Throws KATA_E_NO_GUARD when nothing could restore the engine's configuration after a restart that goes wrong. */
export async function requireGuardPlace(
  host: Host,
  engine: Engine,
  restart: 'WhenNeeded' | 'Never',
): Promise<void> {
  // Without a restart of ours nothing of ours can cut the node off.
  if (restart === 'Never' || !engine.running || engine.unit === undefined) return;
  try {
    await requireWritable(host, [UNITS]);
  } catch (error) {
    if (!(error instanceof KataError) || error.code !== 'KATA_E_NOT_WRITABLE') throw error;
    throw new KataError('KATA_E_NO_GUARD', {
      engine: describeEngine(engine),
      path: UNITS,
      cause: String(error.parameters['cause']),
    });
  }
}
