/** Conditions as Kubernetes defines them (metav1.Condition): a transition time moves only with the status. */
import type { Condition } from '../../crds/kataDeployment.ts';

export interface Verdict {
  readonly status: 'True' | 'False' | 'Unknown';
  /** UpperCamelCase. */
  readonly reason: string;
  readonly message: string;
}

export function conditionList(
  previous: readonly Condition[],
  verdicts: Readonly<Record<string, Verdict>>,
  observedGeneration: number,
  nowMs: number,
): Condition[] {
  return Object.entries(verdicts).map(([type, verdict]) => {
    const before = previous.find((condition) => condition.type === type);
    const lastTransitionTime =
      before?.status === verdict.status
        ? before.lastTransitionTime
        : new Date(nowMs).toISOString().replace(/\.\d{3}Z$/, 'Z');
    return { type, ...verdict, observedGeneration, lastTransitionTime };
  });
}
