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
import { StateFile, type Transaction } from '../transaction/journal.ts';
import { runTransaction } from '../transaction/runner.ts';
import type { Step } from '../transaction/step.ts';
import { failed } from './activate.ts';
import type { StageContext } from './context.ts';
import { exclusively, requireOwnership, writeDown } from './exclusive.ts';
import { engineFacts } from './preflight.ts';
import { FILES_STEP, engineToRestore } from './recovery.ts';
import { ResultBuilder, asFailure, outcomeBeforeWrites } from './resultBuilder.ts';
import { withoutSource } from './wish.ts';

export async function remove(context: StageContext): Promise<NodeResult> {
  const builder = new ResultBuilder('remove', context);
  try {
    return await exclusively(context, (open) => removeLocked(context, builder, open), {
      keeps: isRemoval,
      bestEffort: true,
    });
  } catch (error) {
    const failure = asFailure(error, 'Lock');
    return builder.end(outcomeBeforeWrites(failure.error), failure);
  }
}

/** Every interrupted removal is gone on with, whoever asked for it. */
function isRemoval({ stage, failure }: Transaction): boolean {
  return stage === 'remove' && failure === undefined;
}

async function removeLocked(
  context: StageContext,
  builder: ResultBuilder,
  open: Transaction | undefined,
): Promise<NodeResult> {
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
    const record = await journal.open(
      'remove',
      attempt,
      { plan: withoutSource(plan) },
      open?.steps,
    );
    const report = await runTransaction(steps, {
      journal: record,
      observe,
      signal,
      ...(open === undefined ? {} : { recorded: open.steps }),
    });
    builder.add(report);
    const { failure } = report;
    if (failure !== undefined) {
      const result = failed(builder, failure);
      await writeDown(context, () =>
        failure.undoError === undefined
          ? journal.conclude((present) => present)
          : journal.latch(result),
      );
      return result;
    }
    await record.intended(FILES_STEP);
  }
  const { created } = await journal.read();
  await builder.timed(
    FILES_STEP,
    async () => {
      await removeInstallation(host, created);
      return installed;
    },
    (changed) => changed,
  );
  return builder.end('done');
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
