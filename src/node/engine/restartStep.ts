/**
 * The step EngineRestart: the running engine has loaded what its configuration file says.
 *
 * Restarts only when it has not. Undoing is EngineConfiguration's part: a restart before the file is back
 * would be one more outage for nothing.
 */
import { KataError } from '../../errors.ts';
import type { Step } from '../transaction/step.ts';
import { type ChangeOptions, needsRestart } from './configFile.ts';
import { describeEngine } from './engine.ts';
import { restartAndWait } from './serving.ts';

export function restartStep(options: ChangeOptions): Step {
  const { engine, host, restart, restarter } = options;
  return {
    name: 'EngineRestart',
    // An engine that does not run reads the file when it starts.
    check: async (signal) => !engine.running || !(await needsRestart(options, signal)),
    apply: async (signal) => {
      if (restart === 'Never')
        throw new KataError('KATA_E_AWAITING_RESTART', {
          unit: engine.unit ?? describeEngine(engine),
        });
      const outageMs = await restartAndWait(host, engine, restarter(), signal);
      return { engineRestarts: 1, outageMs };
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
