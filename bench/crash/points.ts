/**
 * Which points there are, and a repeatable sample of them.
 */
import type { DiskCall } from './shim.ts';
import { SEQUELS, type Point, type Scenario } from './scenarios.ts';

const WRITES = new Set(['write', 'pwrite', 'writev']);

/** Each `everyNth` call fails so as well; a killed process is tried at every single one. */
const EVERY_NTH = { 'from:ENOSPC': 3, 'once:ENOSPC': 5, 'once:EIO': 4 } as const;

/** Every call that changes the disk, every write torn in two, some that fail, and both sides of the restart. */
export function allPoints(scenario: Scenario, calls: readonly DiskCall[]): Point[] {
  const points: Point[] = [];
  const add = (interruption: Point['interruption']): void => {
    const sequel = SEQUELS[points.length % SEQUELS.length] ?? 'otherAttempt';
    points.push({ scenario, interruption, sequel });
  };
  for (const { number } of calls) add({ at: number, fault: 'kill' });
  for (const { number, name } of calls) if (WRITES.has(name)) add({ at: number, fault: 'torn' });
  for (const fault of ['from:ENOSPC', 'once:ENOSPC', 'once:EIO'] as const)
    for (const { number } of calls) if (number % EVERY_NTH[fault] === 0) add({ at: number, fault });
  for (const restart of ['asked', 'done'] as const)
    for (const sequel of SEQUELS) points.push({ scenario, interruption: { restart }, sequel });
  return points;
}

/** `count` of them, the same for the same seed. */
export function sample<T>(items: readonly T[], count: number, seed: number): T[] {
  const random = generator(seed);
  const rest = [...items];
  const chosen: T[] = [];
  while (chosen.length < count && rest.length > 0)
    chosen.push(...rest.splice(Math.floor(random() * rest.length), 1));
  return chosen;
}

/** A linear congruential generator (Numerical Recipes' constants): repeatable, and good enough to draw points. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 0x1_0000_0000;
  };
}

export function describePoint({ scenario, interruption, sequel }: Point): string {
  const what =
    interruption === 'none'
      ? 'undisturbed'
      : 'at' in interruption
        ? `${interruption.fault} at call ${interruption.at}`
        : `killed when the restart was ${interruption.restart}`;
  return `${scenario.name}, ${what}, then ${sequel}`;
}
