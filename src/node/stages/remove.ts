/**
 * Remove: the engine's configuration back byte for byte, then everything of ours off the host.
 *
 * The engine comes first: as long as its configuration names our files, they stay. It never touches what
 * others made, and a host on which nothing is left is `done`.
 */
import type { NodeResult } from '../../crds/nodeResult.ts';
import type { Engine } from '../engine/index.ts';
import {
  isInstalled,
  prepareInstallation,
  removeInstallation,
} from '../transaction/installation.ts';
import { StateFile, type NodeState } from '../transaction/journal.ts';
import { runTransaction } from '../transaction/runner.ts';
import type { Step } from '../transaction/step.ts';
import { failed } from './activate.ts';
import type { StageContext } from './context.ts';
import { exclusively, requireOwnership, writeDown } from './exclusive.ts';
import { engineFacts } from './preflight.ts';
import { ResultBuilder, asFailure, outcomeBeforeWrites } from './resultBuilder.ts';

export async function remove(context: StageContext): Promise<NodeResult> {
  const builder = new ResultBuilder('remove', context);
  try {
    return await exclusively(context, () => removeLocked(context, builder));
  } catch (error) {
    const failure = asFailure(error, 'Lock');
    return builder.end(outcomeBeforeWrites(failure.error), failure);
  }
}

async function removeLocked(context: StageContext, builder: ResultBuilder): Promise<NodeResult> {
  const { host, plan, attempt, signal, observe } = context;
  const journal = new StateFile(host);
  const state = await builder.timed('State', async () => {
    const found = await journal.read();
    requireOwnership(found, plan.deployment);
    return found;
  });
  const engine = await builder.timed('Engine', () => engineToRestore(context, state));
  const steps = engine === undefined ? [] : engineSteps(context, engine, journal);
  if (engine !== undefined) builder.facts.engine = engineFacts(engine);
  const installed = await isInstalled(host);
  if (installed || (await somethingToDo(steps, signal))) {
    await prepareInstallation(host);
    await journal.begin('remove', attempt);
    const report = await runTransaction(steps, { journal, observe, signal });
    builder.add(report);
    if (report.failure !== undefined) {
      await writeDown(context, () => journal.end());
      return failed(builder, report.failure);
    }
  }
  const { created } = await journal.read();
  await builder.timed(
    'Files',
    async () => {
      await removeInstallation(host, created);
      return installed;
    },
    (changed) => changed,
  );
  return builder.end('done');
}

/**
 * The engine of today; when it cannot be found any more, the one that was edited, without restarting it.
 * Undefined when there is none and nothing to take back.
 */
async function engineToRestore(
  { host, plan, engine, signal }: StageContext,
  { engine: record }: NodeState,
): Promise<Engine | undefined> {
  try {
    return await engine.discoverEngine(host, plan.engine, signal);
  } catch {
    signal.throwIfAborted();
    if (record === undefined) return undefined;
    const { unit, ...known } = record.engine;
    return { ...known, running: false, ...(unit === undefined ? {} : { unit }) };
  }
}

function engineSteps(
  { host, plan, engine: port }: StageContext,
  engine: Engine,
  journal: StateFile,
): Step[] {
  return port.removeSteps({
    host,
    engine,
    owner: plan.deployment,
    restart: plan.engine.restart,
    record: journal.engineRecord(),
  });
}

async function somethingToDo(steps: readonly Step[], signal: AbortSignal): Promise<boolean> {
  for (const step of steps) if (!(await step.check(signal))) return true;
  return false;
}
