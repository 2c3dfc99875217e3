/**
 * The step EngineRestart: the running engine has loaded what its configuration file says.
 *
 * Restarts only when it has not. Undoing is EngineConfiguration's part: a restart before the file is back
 * would be one more outage for nothing.
 */
import { KataError } from '../../errors.ts';
import type { Step } from '../transaction/step.ts';
import { bringIn } from './bringIn.ts';
import { type ChangeOptions, needsRestart, readConfig } from './configFile.ts';
import { describeEngine } from './engine.ts';
import { armGuard } from './guard/step.ts';
import { readAhead } from './readAhead.ts';
import { servedBy } from './served.ts';
import { engineStatus } from './serving.ts';

/** `shims`: paths on the host of those that the engine is going to start. */
export function restartStep(options: ChangeOptions, shims: readonly string[]): Step {
  const { engine, restart } = options;
  return {
    name: 'EngineRestart',
    // An engine that does not run reads the file when it starts.
    check: async (signal) => !engine.running || !(await needsRestart(options, signal)),
    apply: async (signal) => {
      if (restart === 'Never')
        throw new KataError('KATA_E_AWAITING_RESTART', {
          unit: engine.unit ?? describeEngine(engine),
        });
      await armGuard(options, signal);
      await readAhead(options.host, shims, signal);
      const effect = await bringIn(options, signal);
      await assertOthersServed(options, signal);
      return effect;
    },
    verify: async (signal) => {
      if (!engine.running || !(await needsRestart(options, signal))) return;
      throw new KataError('KATA_E_HANDLERS_MISSING', {
        engine: describeEngine(engine),
        handlers: 'the handlers as the file defines them',
      });
    },
    undo: () => Promise.resolve(),
  };
}

/** What the file gives to others must be served as well: a handler of theirs that is gone is our outage. */
async function assertOthersServed(options: ChangeOptions, signal: AbortSignal): Promise<void> {
  const served = new Set(servedBy(await engineStatus(options.host, options.engine, signal)));
  const { way } = await readConfig(options, 'none', signal);
  const missing = (await way.others()).filter((handler) => !served.has(handler));
  if (missing.length === 0) return;
  throw new KataError('KATA_E_HANDLERS_MISSING', {
    engine: describeEngine(options.engine),
    handlers: missing.join(', '),
  });
}
