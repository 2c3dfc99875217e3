/**
 * After a crash: what an interrupted run had begun is taken back by what it wrote down, before anything else
 * happens; or it is left to the run that asks for the same and goes on with it.
 *
 * Never guesses: a step that the journal does not name was not begun.
 */
import { KataError, toKataError } from '../../errors.ts';
import { configurationStep, currentLinkStep } from '../configuration/steps.ts';
import type { Engine } from '../engine/index.ts';
import { clearInstallation, prepareInstallation } from '../transaction/installation.ts';
import { StateFile, type NodeState, type Transaction } from '../transaction/journal.ts';
import { takeBack } from '../transaction/runner.ts';
import type { Step } from '../transaction/step.ts';
import type { StageContext } from './context.ts';
import { ResultBuilder, StageFailure, asFailure } from './resultBuilder.ts';

/** The last step of a removal; once it has begun there is no way back, only to the end. */
export const FILES_STEP = 'Files';

const NOTHING = { directories: [], files: [], registrations: [] };

export interface Recovery {
  /** True for a transaction that the run itself goes on with. */
  readonly keeps: (open: Transaction) => boolean;
  /** What cannot be taken back is passed over: the run takes everything away in any case. */
  readonly bestEffort?: boolean;
  /** Makes a state that cannot be read one that can. Without it, the run is refused. */
  readonly repair?: () => Promise<void>;
}

/** Returns the transaction that stays open because `keeps` says so. Throws StageFailure of `State` and `Recovery`. */
export async function recover(
  context: StageContext,
  { keeps, bestEffort = false, repair }: Recovery,
): Promise<Transaction | undefined> {
  const journal = new StateFile(context.host);
  const state = await (repair?.() ?? Promise.resolve())
    .then(() => journal.read())
    .catch((error: unknown) => {
      throw asFailure(error, 'State');
    });
  const { transaction: open } = state;
  // Another KataDeployment's is its own business: this run is going to be refused.
  if (open === undefined || state.deployment !== context.plan.deployment) return undefined;
  if (keeps(open)) return open;
  const startedAt = performance.now();
  const elapsed = (): number => Math.round(performance.now() - startedAt);
  try {
    await settle(context, journal, state, open);
    context.observe('Recovery', 'changed', elapsed());
    return undefined;
  } catch (thrown) {
    const error =
      thrown instanceof KataError && thrown.code === 'KATA_E_ROLLBACK_FAILED'
        ? thrown
        : new KataError(
            'KATA_E_RECOVERY',
            { cause: toKataError(thrown).message },
            { cause: thrown },
          );
    context.observe('Recovery', 'failed', elapsed(), error);
    if (bestEffort && !context.signal.aborted) return undefined;
    throw new StageFailure('Recovery', error);
  }
}

async function settle(
  context: StageContext,
  journal: StateFile,
  state: NodeState,
  open: Transaction,
): Promise<void> {
  if (open.stage === 'remove' && open.steps.some(({ name }) => name === FILES_STEP)) {
    await clearInstallation(context.host);
    await prepareInstallation(context.host);
    await journal.conclude(({ created, deployment }) => ({
      stateVersion: 1,
      created,
      ...(deployment === undefined ? {} : { deployment }),
    }));
    return;
  }
  const steps = await stepsOf(context, journal, state, open);
  const error = await takeBack(steps, open.steps, {
    journal: journal.opened(),
    observe: context.observe,
  });
  if (error !== undefined) throw error;
  await journal.conclude((present) => present, answerOf(context, open));
}

/** The steps as the interrupted run had them; each is asked for its `undo` alone. */
async function stepsOf(
  context: StageContext,
  journal: StateFile,
  state: NodeState,
  { stage, wish: { plan, activation } }: Transaction,
): Promise<Step[]> {
  const { host } = context;
  const engine = await engineToRestore({ ...context, plan }, state);
  const options = {
    host,
    owner: plan.deployment,
    restart: plan.engine.restart,
    record: journal.engineRecord(),
  };
  if (stage === 'remove' || activation === undefined)
    return engine === undefined ? [] : context.engine.removeSteps({ ...options, engine });
  const { registrations, installed } = activation;
  return [
    configurationStep(host, NOTHING),
    ...(engine === undefined
      ? []
      : context.engine.installSteps({ ...options, engine, registrations })),
    currentLinkStep(host, installed.digest),
  ];
}

/** The run that failed was killed before it could tell: a re-run of its attempt gets the answer that it would have got. */
function answerOf(context: StageContext, { attempt, stage, wish, failure }: Transaction) {
  if (failure === undefined || attempt !== context.attempt || stage !== 'activate')
    return undefined;
  const builder = new ResultBuilder('activate', { ...context, plan: wish.plan });
  return { ...builder.end('rolledBack'), error: failure };
}

/**
 * The engine of today; when it cannot be found any more, the one that was edited, without restarting it.
 * Undefined when there is none and nothing to take back.
 */
export async function engineToRestore(
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
