/**
 * Commands that only look, with a plan: `plan` (what `apply` would do) and `verify` (is everything as it asks).
 */
import { z } from 'zod';
import type { NodePlan } from '../../crds/nodePlan.ts';
import { nodeResult } from '../../crds/nodeResult.ts';
import { KataError } from '../../errors.ts';
import type { Host } from '../host/host.ts';
import { StateFile, readState } from '../transaction/journal.ts';
import { narrow } from '../transaction/runner.ts';
import type { Step } from '../transaction/step.ts';
import { prepareActivation } from './activate.ts';
import type { StageContext } from './context.ts';
import { ResultBuilder, StageFailure, asFailure } from './resultBuilder.ts';
import {
  FILES_CHECK,
  differingFiles,
  fileDifference,
  requireNoDifference,
  type FileDifference,
} from './verifyFiles.ts';

export const plannedSteps = z.object({
  /** False when the artifacts are not on the host: then nothing can be told of the steps. */
  staged: z.boolean(),
  steps: z.array(z.object({ step: z.string(), wouldChange: z.boolean() })),
});
export type PlannedSteps = z.infer<typeof plannedSteps>;

/** `plan`: which steps of `activate` would change something. The version must be staged to tell. */
export async function planned(context: StageContext): Promise<PlannedSteps['steps']> {
  const builder = new ResultBuilder('activate', context);
  const { steps } = await prepareActivation(context, builder, new StateFile(context.host));
  const answers: PlannedSteps['steps'] = [];
  for (const step of steps)
    answers.push({ step: step.name, wouldChange: !(await step.check(context.signal)) });
  return answers;
}

/** What `verify` ends with: with `files`, also what of the versions differs. */
export const verifyResult = nodeResult.extend({
  differences: z.array(fileDifference).exactOptional(),
});
export type VerifyResult = z.infer<typeof verifyResult>;

/** The plan that was activated last. Throws KATA_E_NOTHING_ACTIVE. */
export async function activePlan(host: Host): Promise<NodePlan> {
  const plan = (await readState(host))?.active?.plan;
  if (plan === undefined) throw new KataError('KATA_E_NOTHING_ACTIVE');
  return plan;
}

/**
 * `verify`: every step of `activate` finds the host as it wants it; with `files`, every file of every version too, also
 * when a step does not. Never writes.
 */
export async function verify(
  context: StageContext,
  { files }: { readonly files: boolean },
): Promise<VerifyResult> {
  const builder = new ResultBuilder('activate', context);
  const first = await failureOf(context, () => verifySteps(context, builder));
  if (!files) return builder.end(first === undefined ? 'done' : 'failed', first);
  let differences: FileDifference[] = [];
  const second = await failureOf(context, () =>
    builder.timed(FILES_CHECK, async () => {
      differences = await differingFiles(context);
      requireNoDifference(differences);
    }),
  );
  const failure = first ?? second;
  return { ...builder.end(failure === undefined ? 'done' : 'failed', failure), differences };
}

async function failureOf(
  { signal }: StageContext,
  work: () => Promise<void>,
): Promise<StageFailure | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return error instanceof StageFailure
      ? error
      : asFailure(narrow(error, signal, 'Verify'), 'Verify');
  }
}

async function verifySteps(context: StageContext, builder: ResultBuilder): Promise<void> {
  const { host, engine: port, signal } = context;
  const journal = new StateFile(host);
  const activation = await prepareActivation(context, builder, journal);
  const { engine, content, steps, skippedHandlers } = activation;
  builder.skippedHandlers = skippedHandlers;
  for (const step of steps) await builder.timed(step.name, () => verifyStep(step, signal));
  const served = engine.running ? await port.servedHandlers(host, engine, signal) : [];
  builder.handlers = content.registrations
    .map(({ handler }) => handler)
    .filter((handler) => served.includes(handler));
}

async function verifyStep(step: Step, signal: AbortSignal): Promise<void> {
  if (!(await step.check(signal))) throw new KataError('KATA_E_DRIFT', { step: step.name });
  await step.verify(signal);
}
