/**
 * What is fuzzed, and how: random inputs from a seed against statements that must hold for every input. The same
 * seed gives the same inputs; a failure is shrunk, and its path repeats it at once.
 */
import fc from 'fast-check';

export interface FuzzRun {
  readonly inputs: number;
  /** How many of them were refused, kept, and so on: it tells whether the inputs are worth anything. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Undefined when every statement held. */
  readonly failure?: string;
}

export interface FuzzOptions {
  readonly seed: number;
  readonly inputs: number;
  /** Nothing new is begun after it. */
  readonly timeoutMs: number;
  /** As a failure has told it: only this input is tried. */
  readonly path?: string;
}

export interface FuzzTarget {
  readonly name: string;
  run(options: FuzzOptions): Promise<FuzzRun>;
}

/** `holds` throws for an input that shows a bug, and says what came of any other. */
export function fuzzTarget<Input>(
  name: string,
  input: fc.Arbitrary<Input>,
  holds: (input: Input) => string | Promise<string>,
): FuzzTarget {
  return {
    name,
    run: async ({ seed, inputs, timeoutMs, path }) => {
      const outcomes: Record<string, number> = {};
      const property = fc.asyncProperty(input, async (value) => {
        const outcome = await holds(value);
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      });
      const details = await fc.check(property, {
        seed,
        numRuns: inputs,
        interruptAfterTimeLimit: timeoutMs,
        ...(path === undefined ? {} : { path, endOnFailure: true }),
      });
      // Interrupted before its first input, a run counts as failed.
      if (!details.failed || details.counterexample === null)
        return { inputs: details.numRuns, outcomes };
      const cause = details.errorInstance;
      return {
        inputs: details.numRuns,
        outcomes,
        failure: [
          `${name}: --seed ${details.seed} --path ${details.counterexamplePath}`,
          shown(details.counterexample),
          cause instanceof Error ? (cause.stack ?? cause.message) : String(cause),
        ].join('\n'),
      };
    },
  };
}

/** Bytes as text where they are: nobody reads numbers. */
function shown(counterexample: unknown): string {
  return fc
    .stringify(counterexample)
    .replaceAll(/Buffer\.from\((\[[\d,]*\])\)/g, (_, bytes: string) =>
      JSON.stringify(Buffer.from(JSON.parse(bytes) as number[]).toString('latin1')),
    );
}

/** Seeds from one seed on until the time is over or a statement does not hold. */
export async function fuzzFor(
  target: FuzzTarget,
  seed: number,
  durationMs: number,
): Promise<FuzzRun> {
  const endMs = performance.now() + durationMs;
  let sum: FuzzRun = { inputs: 0, outcomes: {} };
  for (let batch = 0; performance.now() < endMs && sum.failure === undefined; batch += 1) {
    const timeoutMs = Math.max(1, endMs - performance.now());
    sum = added(
      sum,
      await target.run({ seed: (seed + batch) | 0, inputs: BATCH_INPUTS, timeoutMs }),
    );
  }
  return sum;
}

const BATCH_INPUTS = 2_000;

function added(left: FuzzRun, right: FuzzRun): FuzzRun {
  const names = [...Object.keys(left.outcomes), ...Object.keys(right.outcomes)];
  const outcomes = names.map((name): [string, number] => [
    name,
    (left.outcomes[name] ?? 0) + (right.outcomes[name] ?? 0),
  ]);
  return {
    ...right,
    inputs: left.inputs + right.inputs,
    outcomes: Object.fromEntries<number>(outcomes),
  };
}
