/**
 * When the guard stands: from just before the file changes until the engine was seen to serve what the file says.
 */
import { readFile } from 'node:fs/promises';
import { KataError } from '../../../errors.ts';
import { readHostFile } from '../../host/hostFile.ts';
import { ioError } from '../../host/ioError.ts';
import type { Step } from '../../transaction/step.ts';
import { type ChangeOptions, type Target, targetId } from '../configFile.ts';
import { describeEngine } from '../engine.ts';
import { GUARD_TIMER } from './guard.ts';

/** Puts the guard over the last change in the record. Only a restart that we make ourselves can go wrong in our hands. */
export async function armGuard(options: ChangeOptions, signal: AbortSignal): Promise<void> {
  const { engine, guard, host, record, restart } = options;
  const known = await record.get();
  if (!engine.running || restart === 'Never' || known?.change === undefined) return;
  const { change } = known;
  const { path, mode, uid, gid } = await readHostFile(host, known.original.path);
  const file = {
    unit: engine.unit ?? describeEngine(engine),
    ...{ path, mode, uid, gid, target: change.target },
    ...(change.beforeSha256 === undefined ? {} : { beforeSha256: change.beforeSha256 }),
    ...(change.afterSha256 === undefined ? {} : { afterSha256: change.afterSha256 }),
  };
  const { backup } = change;
  const before =
    backup === undefined
      ? undefined
      : await readFile(host.at(backup)).catch((error: unknown) => {
          throw ioError(backup, error);
        });
  await guard.arm(file, before, signal);
}

/**
 * Throws KATA_E_ENGINE_RESTART, once, when the guard had to take back this very wish: the run that made it was gone
 * and the engine with it. Trying again at once would cut the node off again; whoever asks for it anew gets it.
 */
export async function refuseWhatWasRestored(
  { engine, guard }: ChangeOptions,
  target: Target,
): Promise<void> {
  if ((await guard.takeNote()) !== targetId(target)) return;
  throw new KataError('KATA_E_ENGINE_RESTART', {
    unit: engine.unit ?? describeEngine(engine),
    cause: `an earlier run with the same configuration ended before the engine was confirmed, and ${GUARD_TIMER} took it back`,
  });
}

/** Last of the engine's steps: the change is confirmed. */
export function guardStep({ guard }: ChangeOptions): Step {
  return {
    name: 'EngineGuard',
    check: () => guard.isGone(),
    apply: async (signal) => {
      await guard.disarm(signal);
      return {};
    },
    verify: () => Promise.resolve(),
    undo: () => Promise.resolve(),
  };
}
