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
import { KataError, causeOf, toKataError } from '../../errors.ts';
import { engineRecord } from '../engine/record.ts';
import type { Host } from '../host/host.ts';
import { isMissing } from '../host/hostFile.ts';

export const STATE_FILE = join(HOST_PATHS.state, 'state.json');

/** Copies of files as they were before the transaction under way; gone when it has ended. */
export const UNDO_DIRECTORY = join(HOST_PATHS.state, 'undo');

const installed = z.object({ revision: z.string(), digest: z.string(), version: z.string() });
export type Installed = z.infer<typeof installed>;

/** A revision that was activated. With the plan, it can be activated again. */
const activated = installed.extend({
  handlers: z.array(z.string()),
  // One that an older program wrote in another form cannot be activated again; nothing else is wrong with it.
  plan: nodePlan.optional().catch(undefined),
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
  /** The last attempt that ended, with its result. In another form, it is of an attempt of another program. */
  latched: nodeResult.optional().catch(undefined),
});
export type NodeState = z.infer<typeof nodeState>;

export const EMPTY_STATE: NodeState = { stateVersion: 1, created: [] };

/** A revision that something may still lead to, and its version. */
export interface NamedRevision {
  readonly role: (typeof ROLES)[number];
  readonly revision: string;
  readonly digest: string;
}

/** `overtaken` was staged before the last one, `interrupted` is what a transaction under way leads to. */
export const ROLES = ['active', 'previous', 'staged', 'overtaken', 'interrupted'] as const;

/** What the state leads to: none of it may be collected. */
export function namedRevisions(state: NodeState): NamedRevision[] {
  const parts = { ...state, interrupted: state.transaction?.wish.activation?.installed };
  return ROLES.flatMap((role) => {
    const part = parts[role];
    return part === undefined ? [] : [{ role, revision: part.revision, digest: part.digest }];
  });
}

/** Undefined when there is no file. Throws KATA_E_STATE_UNREADABLE, which says what is wrong with it. */
export async function readState(host: Host): Promise<NodeState | undefined> {
  const text = await readStateText(host);
  if (text === undefined) return undefined;
  if (text === last?.text) return last.state;
  const parsed = nodeState.safeParse(parseJson(text));
  if (!parsed.success) throw unreadable(whatIsWrong(text, parsed.error));
  last = { text, state: parsed.data };
  return parsed.data;
}

/** What was read last: a run reads it a dozen times, and it changes less often. Nobody changes what they get. */
let last: { readonly text: string; readonly state: NodeState } | undefined;

export interface Salvaged {
  readonly state: NodeState;
  /** Parts that are, or may be, lost. */
  readonly lost: ReadonlySet<string>;
  readonly error: KataError;
}

/**
 * What can still be understood of a state that cannot be read, part by part: of a file that was cut off, the parts before
 * the cut. Undefined when it can be read, or when there is none.
 */
export async function salvageState(host: Host): Promise<Salvaged | undefined> {
  const error = await readState(host).then(() => undefined, toKataError);
  if (error === undefined) return undefined;
  const text = (await readStateText(host).catch(() => undefined)) ?? '';
  const isWhole = z.record(z.string(), z.unknown()).safeParse(parseJson(text)).success;
  const parts: Record<string, unknown> = {};
  const lost = new Set<string>();
  for (const [name, schema] of Object.entries(nodeState.shape)) {
    const part = partOf(text, name);
    if (part === undefined && isWhole) continue;
    const value = parseJson(part ?? '');
    const parsed = schema.safeParse(value);
    if (value !== undefined && parsed.success) parts[name] = parsed.data;
    else lost.add(name);
  }
  return { state: nodeState.parse({ ...EMPTY_STATE, ...parts }), lost, error };
}

/** The text of one part, as it is written: every part begins on a line of its own, indented by one space. */
function partOf(text: string, name: string): string | undefined {
  const [, rest] = text.split(`\n "${name}": `);
  if (rest === undefined) return undefined;
  const end = rest.search(/,?\n(?: "|\})/);
  return end === -1 ? '' : rest.slice(0, end);
}

async function readStateText(host: Host): Promise<string | undefined> {
  try {
    return await readFile(host.at(STATE_FILE), 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw unreadable(causeOf(error));
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function whatIsWrong(text: string, { issues: [issue] }: z.ZodError): string {
  if (parseJson(text) === undefined)
    return text.trim() === '' ? 'it is empty' : 'it is cut off, or not JSON';
  if (issue === undefined || issue.path.length === 0) return 'it is no state of kata-operator';
  const field = issue.path.map(String).join('.');
  return field === 'stateVersion'
    ? 'another version of kata-operator has written it'
    : `${field}: ${issue.message.slice(0, 200)}`;
}

function unreadable(cause: string): KataError {
  return new KataError('KATA_E_STATE_UNREADABLE', { path: STATE_FILE, cause });
}
