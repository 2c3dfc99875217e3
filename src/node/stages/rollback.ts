/**
 * Rollback: the revision that was active before this one serves again, by the plan that it was activated with.
 *
 * An activation like any other, with all its checks, its one restart and its own way back. Nothing is fetched or
 * unpacked: the version of the previous revision is kept for this.
 */
import type { NodePlan } from '../../crds/nodePlan.ts';
import type { NodeResult } from '../../crds/nodeResult.ts';
import { KataError } from '../../errors.ts';
import {
  EMPTY_STATE,
  StateFile,
  readState,
  type ActivatedRevision,
  type NodeState,
} from '../transaction/journal.ts';
import { carryOut, completeVersion, prepareActivation } from './activate.ts';
import type { StageContext } from './context.ts';
import { exclusively } from './exclusive.ts';
import type { Host } from '../host/host.ts';
import { ResultBuilder, asFailure, outcomeBeforeWrites } from './resultBuilder.ts';
import { asksForTheSame } from './wish.ts';

/** What it leads to. Throws KATA_E_NO_PREVIOUS with the reason. */
export async function previousPlan(host: Host): Promise<NodePlan> {
  return (await destination(host)).plan;
}

async function destination(host: Host): Promise<ActivatedRevision & { readonly plan: NodePlan }> {
  const state = (await readState(host)) ?? EMPTY_STATE;
  const { active } = state;
  const target = targetOf(state);
  if (target === undefined)
    throw new KataError('KATA_E_NO_PREVIOUS', {
      cause:
        active === undefined
          ? 'no revision was ever activated here'
          : `revision ${active.revision} is the only one that was activated here`,
    });
  const { plan } = target;
  if (plan === undefined)
    throw new KataError('KATA_E_NO_PREVIOUS', {
      cause: `the plan of revision ${target.revision} was not recorded`,
    });
  return { ...target, plan };
}

/** Of an interrupted activation, what was active before it; unless that was a rollback, which is gone on with. */
function targetOf({
  active,
  previous,
  rolledBack,
  transaction: open,
}: NodeState): ActivatedRevision | undefined {
  const underWay = open?.wish.activation?.installed;
  // Run again (after a crash at its very end, say), it stays where it is.
  if (underWay === undefined) return rolledBack === true ? active : previous;
  const isRollback =
    underWay.revision === previous?.revision && underWay.digest === previous.digest;
  return isRollback ? previous : active;
}

/** `context.plan` is the one of `previousPlan`. */
export async function rollback(context: StageContext): Promise<NodeResult> {
  const builder = new ResultBuilder('activate', context);
  const { host, plan } = context;
  try {
    const target = await destination(host);
    const { result } = await exclusively(
      context,
      async (open) => {
        const journal = new StateFile(host);
        const activation = await prepareActivation(context, builder, journal, () =>
          completeVersion(host, target),
        );
        return carryOut(context, builder, journal, { ...activation, isRollback: true }, open);
      },
      // Whatever else was under way is taken back first: that is the way to what was before.
      { keeps: (open) => asksForTheSame(open, plan) },
    );
    return result;
  } catch (error) {
    const failure = asFailure(error, 'Rollback');
    return builder.end(outcomeBeforeWrites(failure.error), failure);
  }
}
