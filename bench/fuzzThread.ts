/** One target of the fuzzer in a thread of its own: the others go on, and whoever started it sees a hang. */
import { parentPort, workerData } from 'node:worker_threads';
import { z } from 'zod';
import { fuzzFor } from '../test/fuzz/target.ts';
import { FUZZ_TARGETS, JUDGED_TARGETS } from '../test/fuzz/targets.ts';

export const threadOptions = z.object({
  target: z.string(),
  seed: z.int(),
  durationMs: z.number(),
  /** Only this input is tried. */
  path: z.string().optional(),
});
export type ThreadOptions = z.infer<typeof threadOptions>;

export const TARGETS = [...FUZZ_TARGETS, ...JUDGED_TARGETS];

const ONE_INPUT_TIMEOUT_MS = 60_000;

async function work(data: unknown): Promise<void> {
  const { target: name, seed, durationMs, path } = threadOptions.parse(data);
  const target = TARGETS.find((candidate) => candidate.name === name);
  if (target === undefined) throw new Error(`there is no target ${name}`);
  parentPort?.postMessage(
    path === undefined
      ? await fuzzFor(target, seed, durationMs)
      : await target.run({ seed, path, inputs: 1, timeoutMs: ONE_INPUT_TIMEOUT_MS }),
  );
}

if (parentPort !== null) await work(workerData);
