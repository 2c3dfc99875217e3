/**
 * KataNode: one per node, named like it, written by the controller only. What must survive a restart
 * of the controller lives here: phase, attempt, the last result of each stage.
 */
import { z } from 'zod';

/**
 * Waiting → Claimed → Preflight → Staged → Active → Verified → Ready.
 * A phase names the last thing that is true of the node. `Cordoned`, `Drained`, `Uncordoned` come with drain.
 */
export const PHASES = [
  'Waiting',
  'Claimed',
  'Preflight',
  'Cordoned',
  'Drained',
  'Staged',
  'Active',
  'Verified',
  'Uncordoned',
  'Ready',
  'Failed',
  'RolledBack',
  'Unsupported',
  'Skipped',
  'AwaitingRestart',
  'Draining',
  'Removing',
] as const;
export type Phase = (typeof PHASES)[number];

const text = z.string().max(1024);

const nodeError = z.object({
  code: z.string().max(64),
  step: z.string().max(64),
  reason: z.string().max(128),
  message: text,
  remedy: text,
});

const returnedFrom = z.object({
  revision: z.string().max(63),
  /** When it failed there (RFC 3339). */
  since: z.string().max(64),
  error: nodeError,
});

export const kataNodeSpec = z.object({
  deployment: z.string().max(63),
  /** UID of the Node: an object of a node that was deleted and made again starts anew. */
  nodeUID: z.string().max(64),
  /** Revision that the node was last given; `remove` while it is cleaned. */
  revision: z.string().max(63).optional(),
  /** When the present attempt was started (RFC 3339); nodeTimeout counts from here. */
  claimedAt: z.string().max(64).optional(),
  /** Set while the node has been moved back to the revision before: which one it failed at, and how. */
  returnedFrom: returnedFrom.optional(),
  /** Value of the retry annotation that was already obeyed. */
  retryHandled: z.string().max(253).optional(),
});

export const kataNodeStatus = z.object({
  phase: z.enum(PHASES),
  /** Revision that the node works towards, or has. */
  revision: z.string().max(63).optional(),
  /** Kept for rollback. */
  previousRevision: z.string().max(63).optional(),
  /** UID of the Pod whose results are recorded here. */
  attempt: z.string().max(64).optional(),
  /** How often the present revision was tried. */
  attempts: z.int().min(0).optional(),
  /** When the present phase was entered (RFC 3339). */
  since: z.string().max(64).optional(),
  arch: z.string().max(32).optional(),
  kernel: z.string().max(128).optional(),
  machineId: z.string().max(64).optional(),
  bootId: z.string().max(64).optional(),
  kvm: z.object({ usable: z.boolean(), cause: text.optional() }).optional(),
  /** Whether something of ours lies on the host, by its own word; absent until it was looked at. */
  installed: z.boolean().optional(),
  engine: z
    .object({
      name: z.string().max(32),
      version: z.string().max(64),
      configPath: text,
      unit: z.string().max(253).optional(),
    })
    .optional(),
  artifacts: z.object({ version: z.string().max(64), digest: z.string().max(80) }).optional(),
  handlers: z.array(z.string().max(63)).max(64).optional(),
  skippedHandlers: z.array(z.string().max(63)).max(64).optional(),
  steps: z
    .array(
      z.object({
        stage: z.string().max(32),
        name: z.string().max(64),
        ms: z.number(),
        changed: z.boolean(),
      }),
    )
    .max(64)
    .optional(),
  engineRestarts: z.int().min(0).optional(),
  outageMs: z.number().optional(),
  bytesWritten: z.number().optional(),
  error: nodeError.optional(),
});

export type KataNodeSpec = z.infer<typeof kataNodeSpec>;
export type KataNodeStatus = z.infer<typeof kataNodeStatus>;
