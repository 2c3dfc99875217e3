/**
 * Commands that only look: `status` (where this host stands), `plan` (what `apply` would do) and `verify`
 * (is everything as the plan asks).
 */
import { HOST_PATHS } from '../../crds/names.ts';
import type { NodePlan } from '../../crds/nodePlan.ts';
import type { NodeResult } from '../../crds/nodeResult.ts';
import { KataError, toKataError } from '../../errors.ts';
import { listVersions, type VersionSummary } from '../artifacts/version.ts';
import type { Engine } from '../engine/index.ts';
import type { Host } from '../host/host.ts';
import { StateFile, readState, type NodeState } from '../transaction/journal.ts';
import { narrow } from '../transaction/runner.ts';
import type { Step } from '../transaction/step.ts';
import { prepareActivation } from './activate.ts';
import type { EnginePort, StageContext } from './context.ts';
import { ResultBuilder, StageFailure, asFailure } from './resultBuilder.ts';

export interface HostStatus {
  readonly installed: boolean;
  readonly deployment?: string;
  readonly staged?: NodeState['staged'];
  readonly active?: NodeState['active'];
  /** Begun and not ended: an interrupted run, or one that is under way. */
  readonly transaction?: NodeState['transaction'];
  readonly lastOutcome?: NodeResult['outcome'];
  readonly versions: readonly VersionSummary[];
  readonly engine?: Pick<Engine, 'name' | 'version' | 'configPath' | 'running'>;
  /** Handlers that the engine serves now; missing when it does not answer. */
  readonly served?: readonly string[];
  /** Why something above is missing. */
  readonly problems: readonly string[];
}

const ANY_ENGINE: NodePlan['engine'] = { type: 'Auto', restart: 'WhenNeeded' };

export async function hostStatus(
  host: Host,
  port: EnginePort,
  wanted: NodePlan['engine'] | undefined,
  signal: AbortSignal,
): Promise<HostStatus> {
  const problems: string[] = [];
  const orUndefined = async <T>(work: Promise<T>): Promise<T | undefined> =>
    work.catch((error: unknown) => {
      problems.push(toKataError(error).message);
      return undefined;
    });
  const state = await orUndefined(readState(host));
  const engine = await orUndefined(port.discoverEngine(host, wanted ?? ANY_ENGINE, signal));
  const served =
    engine?.running === true
      ? await orUndefined(port.servedHandlers(host, engine, signal))
      : undefined;
  return {
    installed: state !== undefined,
    ...(state?.deployment === undefined ? {} : { deployment: state.deployment }),
    ...(state?.staged === undefined ? {} : { staged: state.staged }),
    ...(state?.active === undefined ? {} : { active: state.active }),
    ...(state?.transaction === undefined ? {} : { transaction: state.transaction }),
    ...(state?.latched === undefined ? {} : { lastOutcome: state.latched.outcome }),
    versions: await listVersions(host),
    ...(engine === undefined
      ? {}
      : {
          engine: {
            name: engine.name,
            version: engine.version,
            configPath: engine.configPath,
            running: engine.running,
          },
        }),
    ...(served === undefined ? {} : { served }),
    problems,
  };
}

/** For people. */
export function describeStatus(status: HostStatus): string[] {
  const { active, staged, transaction, engine, served } = status;
  const describe = (part: NonNullable<HostStatus['staged']>): string =>
    `revision ${part.revision}, Kata ${part.version}, ${HOST_PATHS.versions}/${part.digest}`;
  return [
    status.installed
      ? `Deployment: ${status.deployment ?? 'none'}`
      : 'Nothing of kata-operator is installed here.',
    ...(active === undefined
      ? []
      : [`Active: ${describe(active)}`, `Handlers: ${active.handlers.join(', ')}`]),
    ...(staged === undefined || staged.digest === active?.digest
      ? []
      : [`Staged: ${describe(staged)}`]),
    ...(transaction === undefined
      ? []
      : [
          `Not ended: ${transaction.stage} (${transaction.steps.map(({ name, state }) => `${name} ${state}`).join(', ')})`,
        ]),
    ...(status.lastOutcome === undefined ? [] : [`Last outcome: ${status.lastOutcome}`]),
    ...(engine === undefined
      ? []
      : [
          `Engine: ${engine.name} ${engine.version}, ${engine.configPath}${engine.running ? '' : ' (not running)'}`,
        ]),
    ...(served === undefined ? [] : [`Served: ${served.join(', ')}`]),
    ...status.problems.map((problem) => `Problem: ${problem}`),
  ];
}

/** `plan`: which steps of `activate` would change something. The version must be staged to tell. */
export async function planned(
  context: StageContext,
): Promise<{ step: string; wouldChange: boolean }[]> {
  const builder = new ResultBuilder('activate', context);
  const { steps } = await prepareActivation(context, builder, new StateFile(context.host));
  const answers: { step: string; wouldChange: boolean }[] = [];
  for (const step of steps)
    answers.push({ step: step.name, wouldChange: !(await step.check(context.signal)) });
  return answers;
}

/** `verify`: every step of `activate` finds the host as it wants it. Never writes. */
export async function verify(context: StageContext): Promise<NodeResult> {
  const builder = new ResultBuilder('activate', context);
  try {
    const { engine, content, steps, skippedHandlers } = await prepareActivation(
      context,
      builder,
      new StateFile(context.host),
    );
    builder.skippedHandlers = skippedHandlers;
    for (const step of steps)
      await builder.timed(step.name, () => verifyStep(step, context.signal));
    const served = engine.running
      ? await context.engine.servedHandlers(context.host, engine, context.signal)
      : [];
    builder.handlers = content.registrations
      .map(({ handler }) => handler)
      .filter((handler) => served.includes(handler));
    return builder.end('done');
  } catch (error) {
    return builder.end(
      'failed',
      error instanceof StageFailure
        ? error
        : asFailure(narrow(error, context.signal, 'Verify'), 'Verify'),
    );
  }
}

async function verifyStep(step: Step, signal: AbortSignal): Promise<void> {
  if (!(await step.check(signal))) throw new KataError('KATA_E_DRIFT', { step: step.name });
  await step.verify(signal);
}
