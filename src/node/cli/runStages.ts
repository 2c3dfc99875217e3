/**
 * Which stages a command runs, in which order, and what passes between the containers of a Pod.
 */
import type { NodeResult, Stage } from '../../crds/nodeResult.ts';
import { KataError, toKataError } from '../../errors.ts';
import { activate } from '../stages/activate.ts';
import type { StageContext } from '../stages/context.ts';
import { leaveFingerprint, leaveResult, stageInTheWay } from '../stages/handoff.ts';
import { preflight } from '../stages/preflight.ts';
import { remove } from '../stages/remove.ts';
import { ResultBuilder } from '../stages/resultBuilder.ts';
import { stage } from '../stages/stage.ts';

interface Ran {
  readonly result: NodeResult;
  /** Files whose change means that the node is no longer as it was left. */
  readonly watched?: readonly string[];
}

const STAGE: Readonly<Record<Stage, (context: StageContext) => Promise<Ran>>> = {
  preflight: async (context) => ({ result: await preflight(context) }),
  stage: async (context) => ({ result: await stage(context) }),
  activate,
  remove: async (context) => ({ result: await remove(context) }),
};

/** Runs until one does not end well. `handoff` is the directory that the containers of a Pod share. */
export async function runStages(
  names: readonly Stage[],
  handoff: string | undefined,
  context: StageContext,
): Promise<NodeResult> {
  const results: NodeResult[] = [];
  for (const name of names) {
    const result = await runStage(name, handoff, context);
    results.push(result);
    if (result.outcome !== 'done') break;
  }
  return merge(results);
}

async function runStage(
  name: Stage,
  handoff: string | undefined,
  context: StageContext,
): Promise<NodeResult> {
  if (handoff === undefined) return (await STAGE[name](context)).result;
  if ((await stageInTheWay(handoff, name, context.attempt)) !== undefined) {
    return new ResultBuilder(name, context).end('skipped');
  }
  const { result, watched } = await STAGE[name](context);
  await leaveResult(handoff, result);
  if (watched !== undefined && result.outcome === 'done') {
    // Without it the readiness probe fails, which is noticed; the result is not lost for it.
    await leaveFingerprint(handoff, context.host, watched).catch((error: unknown) => {
      context.observe('Fingerprint', 'failed', 0, toKataError(error));
    });
  }
  return result;
}

/** By hand several stages run in one go: the last one's result, with the steps and facts of all. */
function merge(results: readonly NodeResult[]): NodeResult {
  const [first, ...rest] = results;
  if (first === undefined) throw new KataError('KATA_E_INTERNAL', { cause: 'no stage ran' });
  return rest.reduce(
    (sum, next) => ({
      ...next,
      steps: [...sum.steps, ...next.steps],
      facts: { ...sum.facts, ...next.facts },
      bytesWritten: sum.bytesWritten + next.bytesWritten,
      durationMs: sum.durationMs + next.durationMs,
    }),
    first,
  );
}
