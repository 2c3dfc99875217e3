/**
 * What a transaction carries out, in the form that the journal keeps: two runs with the same wish are one
 * transaction, and the second goes on where the first was interrupted.
 */
import { isDeepStrictEqual } from 'node:util';
import type { NodePlan } from '../../crds/nodePlan.ts';
import type { Transaction, Wish } from '../transaction/journal.ts';

/** Where artifacts come from does not matter once they are there, and a URL may hold credentials. */
export function withoutSource(plan: NodePlan): NodePlan {
  return { ...plan, artifacts: { kind: 'bundled' } };
}

/** True when a run of `plan` would do the same to the engine, if it brings the same artifacts. */
export function asksForTheSame({ stage, wish, failure }: Transaction, plan: NodePlan): boolean {
  return (
    stage === 'activate' &&
    failure === undefined &&
    isDeepStrictEqual(wish.plan, withoutSource(plan))
  );
}

/** True when the open transaction can be gone on with. One that was being taken back cannot. */
export function isSameWish(open: Transaction, wish: Wish): boolean {
  return open.failure === undefined && isDeepStrictEqual(open.wish, wish);
}
