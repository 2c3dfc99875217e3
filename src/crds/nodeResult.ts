/**
 * The result: what one stage of the node program says when it ends, at most 4,096 bytes of JSON.
 * In a Pod it is the termination message; by hand it is the last line of `--output json`.
 *
 * Anything that does not parse here, or names another attempt, is Unknown and never success.
 */
import { z } from 'zod';

export const RESULT_VERSION = 1;
export const RESULT_MAX_BYTES = 4096;

/** The init containers, in their order; `remove` is alone in its Pod. */
export const STAGES = ['preflight', 'stage', 'activate', 'remove'] as const;
export type Stage = (typeof STAGES)[number];

/**
 * - `done`: the node is in the state that the plan asks for, as far as this stage goes
 * - `unsupported`: this node cannot run Kata; nothing was written
 * - `refused`: an error before the first write to the engine; the node is as it was
 * - `rolledBack`: a change was made and taken back
 * - `failed`: a change was made and could not be taken back; a person is needed
 * - `awaitingRestart`: all is in place, the engine must be restarted by a person
 * - `skipped`: an earlier stage ended badly, nothing was done
 */
export const OUTCOMES = [
  'done',
  'unsupported',
  'refused',
  'rolledBack',
  'failed',
  'awaitingRestart',
  'skipped',
] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const nodeFacts = z.object({
  /** Go's name of the architecture. */
  arch: z.string().optional(),
  kernel: z.string().optional(),
  machineId: z.string().optional(),
  bootId: z.string().optional(),
  kvm: z.object({ usable: z.boolean(), cause: z.string().optional() }).optional(),
  engine: z
    .object({
      name: z.string(),
      version: z.string(),
      configPath: z.string(),
      unit: z.string().optional(),
    })
    .optional(),
  /** Whether something of ours was on the host when the attempt began, whoever had brought it (preflight). */
  installed: z.boolean().optional(),
  /** VERSION of the artifacts and digest of the installed version directory. */
  artifacts: z.object({ version: z.string(), digest: z.string() }).optional(),
});
export type NodeFacts = z.infer<typeof nodeFacts>;

export const nodeResult = z.object({
  resultVersion: z.literal(RESULT_VERSION),
  stage: z.enum(STAGES),
  deployment: z.string(),
  revision: z.string(),
  /** UID of the Pod, or what `--attempt` gave by hand. */
  attempt: z.string(),
  outcome: z.enum(OUTCOMES),
  /** Set unless the outcome is `done` or `skipped`: from the error table. */
  error: z
    .object({
      code: z.string(),
      step: z.string(),
      reason: z.string(),
      message: z.string(),
      remedy: z.string(),
    })
    .optional(),
  /** Every step that ran, in order, with its duration in milliseconds and whether it changed anything. */
  steps: z.array(z.object({ name: z.string(), ms: z.number(), changed: z.boolean() })),
  facts: nodeFacts,
  /** Handlers that the engine was seen to serve (activate). */
  handlers: z.array(z.string()),
  /** Default runtimes that the artifacts do not hold, or that do not exist on this architecture. */
  skippedHandlers: z.array(z.string()).optional(),
  engineRestarts: z.number().int(),
  /** Milliseconds during which the engine did not answer, when it was restarted. */
  outageMs: z.number().optional(),
  bytesWritten: z.number(),
  durationMs: z.number(),
});
export type NodeResult = z.infer<typeof nodeResult>;
export type StepReport = NodeResult['steps'][number];
