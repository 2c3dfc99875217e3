/**
 * Commands that only look, with a plan: `plan` (what `apply` would do) and `verify` (is everything as it asks).
 */
import { z } from 'zod';
import type { NodeResult } from '../../crds/nodeResult.ts';
import { KataError } from '../../errors.ts';
import { StateFile } from '../transaction/journal.ts';
import { narrow } from '../transaction/runner.ts';
import type { Step } from '../transaction/step.ts';
import { prepareActivation } from './activate.ts';
import type { StageContext } from './context.ts';
import { ResultBuilder, StageFailure, asFailure } from './resultBuilder.ts';

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
