/**
 * What the host remembers of us between runs: one small file, `/opt/kata/state/state.json`.
 *
 * Owns its form: what we made, which revision is active and which was before it, the engine edit that must be taken
 * back, and the transaction under way with each step's intent. Reads it and never writes.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { HOST_PATHS } from '../../crds/names.ts';
import { nodePlan } from '../../crds/nodePlan.ts';
import { nodeResult } from '../../crds/nodeResult.ts';
import { KataError, causeOf } from '../../errors.ts';
import { engineRecord } from '../engine/record.ts';
import type { Host } from '../host/host.ts';
import { errnoOf, ioError } from '../host/ioError.ts';

export const STATE_FILE = join(HOST_PATHS.state, 'state.json');

/** Copies of files as they were before the transaction under way; gone when it has ended. */
export const UNDO_DIRECTORY = join(HOST_PATHS.state, 'undo');

const installed = z.object({ revision: z.string(), digest: z.string(), version: z.string() });
export type Installed = z.infer<typeof installed>;

/** A revision that was activated. With the plan, it can be activated again. */
const activated = installed.extend({
  handlers: z.array(z.string()),
  plan: nodePlan.optional(),
});
export type ActivatedRevision = z.infer<typeof activated>;

const recordedStep = z.object({
  name: z.string(),
  state: z.enum(['intended', 'applied', 'undone']),
  intent: z.unknown().optional(),
});
export type RecordedStep = z.infer<typeof recordedStep>;

const registration = z.object({
  handler: z.string(),
  shimPath: z.string(),
  configPath: z.string(),
  podAnnotations: z.array(z.string()),
  snapshotter: z.string().exactOptional(),
});

/** What a transaction carries out, so that another process can go on with it or take it back. */
export const wish = z.object({
  plan: nodePlan,
  /** Missing for a removal. */
  activation: z.object({ installed, registrations: z.array(registration) }).optional(),
});
export type Wish = z.infer<typeof wish>;

const transaction = z.object({
  stage: z.enum(['activate', 'remove']),
  attempt: z.string(),
  wish,
  steps: z.array(recordedStep),
  /** Set when it has failed and is being taken back. */
  failure: nodeResult.shape.error,
});
export type Transaction = z.infer<typeof transaction>;

export const nodeState = z.object({
  stateVersion: z.literal(1),
  /** KataDeployment that works on this node. */
  deployment: z.string().optional(),
  /** Directories that were not there before us, outermost first. */
  created: z.array(z.string()),
  engine: engineRecord.optional(),
  /** The version that the last `stage` brought. */
  staged: installed.optional(),
  /** What the `stage` of another revision brought before: that run may not have come to its `activate` yet. */
  overtaken: installed.optional(),
  /** What the engine serves. */
  active: activated.optional(),
  /** What it served before: where `rollback` leads, unless that is how `active` became active. */
  previous: activated.optional(),
  /** True while what a rollback led to is active: another one changes nothing. */
  rolledBack: z.boolean().optional(),
  /** Artifacts are being brought: after a crash, what is left of them is a directory named `.partial`. */
  staging: z.object({ attempt: z.string(), steps: z.array(recordedStep) }).optional(),
  /** Begun and not ended: after a crash it tells what was under way. */
  transaction: transaction.optional(),
  /** The last attempt that ended, with its result. */
  latched: nodeResult.optional(),
});
export type NodeState = z.infer<typeof nodeState>;

export const EMPTY_STATE: NodeState = { stateVersion: 1, created: [] };

/** Versions that something may still lead to: they must not be collected. */
export function referencedDigests({
  staged,
  overtaken,
  active,
  previous,
  transaction: open,
}: NodeState): ReadonlySet<string> {
  const all = [staged, overtaken, active, previous, open?.wish.activation?.installed];
  return new Set(all.flatMap((part) => (part === undefined ? [] : [part.digest])));
}

/** Undefined when there is no file. */
export async function readState(host: Host): Promise<NodeState | undefined> {
  let text: string;
  try {
    text = await readFile(host.at(STATE_FILE), 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw ioError(STATE_FILE, error);
  }
  try {
    return nodeState.parse(JSON.parse(text));
  } catch (error) {
    throw new KataError(
      'KATA_E_IO',
      {
        path: STATE_FILE,
        cause: `it is not a state of kata-operator: ${causeOf(error).slice(0, 200)}`,
      },
      { cause: error },
    );
  }
}
