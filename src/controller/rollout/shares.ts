/** Counts and percentages of a pool, as spec.rollout gives them. */

/** `3` is three nodes, `10%` rounds up: a small pool still moves. */
export function shareOf(countOrPercent: string, poolSize: number): number {
  const number = Number.parseInt(countOrPercent, 10);
  return countOrPercent.endsWith('%') ? Math.ceil((poolSize * number) / 100) : number;
}
