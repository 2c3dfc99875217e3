/**
 * Remove: the engine's configuration back byte for byte, then everything of ours off the host.
 *
 * The engine comes first: as long as its configuration names our files, they stay. It never touches what
 * others made, and a host on which nothing is left is `done`. What sandboxes run from stays, unless it is forced.
 */
import { HOST_PATHS } from '../../crds/names.ts';
import type { NodeResult } from '../../crds/nodeResult.ts';
import type { Engine } from '../engine/index.ts';
import {
  isInstalled,
  prepareInstallation,
  removeInstallation,
} from '../transaction/installation.ts';
import { EMPTY_STATE, StateFile, readState, type Transaction } from '../transaction/journal.ts';
import { runTransaction } from '../transaction/runner.ts';
import type { Step } from '../transaction/step.ts';
import { failed } from './activate.ts';
import type { StageContext } from './context.ts';
import { exclusively, requireOwnership, writeDown } from './exclusive.ts';
import { requireUnused } from './inUse.ts';
import { engineFacts } from './preflight.ts';
import { FILES_STEP, engineToRestore } from './recovery.ts';
import { repairState, requireNoBlock } from './repair.ts';
import { ResultBuilder, asFailure, outcomeBeforeWrites } from './resultBuilder.ts';
import { withoutSource } from './wish.ts';

export async function remove(context: StageContext): Promise<NodeResult> {
  const builder = new ResultBuilder('remove', context);
  try {
    return await exclusively(context, (open) => removeLocked(context, builder, open), {
      keeps: isRemoval,
      bestEffort: true,
      ...(context.force === true ? { repair: () => repairState(context) } : {}),
    });
  } catch (error) {
    const failure = asFailure(error, 'Lock');
    return builder.end(outcomeBeforeWrites(failure.error), failure);
  }
}

/** Somebody has removed the record of what was there before us: then /opt/kata goes when nothing else is in it. */
function adoptOrphan(journal: StateFile): Promise<void> {
  return journal.update((state) => ({
    ...state,
    created: [...new Set([...state.created, HOST_PATHS.installation])],
  }));
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
  const { host, plan, signal } = context;
  const journal = new StateFile(host);
  const known = await builder.timed('State', async () => {
    const found = await readState(host);
    requireOwnership(found ?? EMPTY_STATE, plan.deployment);
    return found;
  });
  const state = known ?? EMPTY_STATE;
  if (context.force !== true)
    await builder.timed('Sandboxes', () => requireUnused(host, signal, context.sandboxPatienceMs));
  const engine = await builder.timed('Engine', () => engineToRestore(context, state));
  // There may be one all the same, where nobody looks: it must not be left with paths that are about to go.
  if (engine === undefined) await builder.timed('Engine', () => requireNoBlock(host));
  const steps = engine === undefined ? [] : engineSteps(context, engine, journal);
  if (engine !== undefined) builder.facts.engine = engineFacts(engine);
  const installed = await isInstalled(host);
  if (installed || (await somethingToDo(steps, signal))) {
    await prepareInstallation(host);
    if (installed && known === undefined) await adoptOrphan(journal);
    const result = await restoreEngine(context, builder, journal, steps, open);
    if (result !== undefined) return result;
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

/** The result, when it did not end well; else the files may go. */
async function restoreEngine(
  context: StageContext,
  builder: ResultBuilder,
  journal: StateFile,
  steps: readonly Step[],
  open: Transaction | undefined,
): Promise<NodeResult | undefined> {
  const { plan, attempt, signal, observe } = context;
  const wish = { plan: withoutSource(plan) };
  const record = await journal.open('remove', attempt, wish, open?.steps);
  const report = await runTransaction(steps, {
    journal: record,
    observe,
    signal,
    ...(open === undefined ? {} : { recorded: open.steps }),
  });
  builder.add(report);
  const { failure } = report;
  if (failure === undefined) {
    await record.intended(FILES_STEP);
    return undefined;
  }
  const result = failed(builder, failure);
  await writeDown(context, () =>
    failure.undoError === undefined
      ? journal.conclude((present) => present)
      : journal.latch(result),
  );
  return result;
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
