/**
 * What the host remembers of us between runs: one small file, replaced whole and flushed at every change.
 *
 * Owns `/opt/kata/state/state.json`: what we made, which revision is active and which was before it, the engine
 * edit that must be taken back, and the transaction under way with each step's intent before it is applied. What
 * it says must outlive a crash that comes right after; it never decides what to do.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { HOST_PATHS } from '../../crds/names.ts';
import { nodePlan } from '../../crds/nodePlan.ts';
import { nodeResult, type NodeResult } from '../../crds/nodeResult.ts';
import { KataError, causeOf } from '../../errors.ts';
import { engineRecord, type EngineRecord, type EngineRecordStore } from '../engine/record.ts';
import { writeHostFile } from '../host/hostFile.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';

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
  /** What the engine serves. */
  active: activated.optional(),
  /** What it served before: where `rollback` leads. */
  previous: activated.optional(),
  /** Artifacts are being brought: after a crash, what is left of them is a directory named `.partial`. */
  staging: z.object({ attempt: z.string(), steps: z.array(recordedStep) }).optional(),
  /** Begun and not ended: after a crash it tells what was under way. */
  transaction: transaction.optional(),
  /** The last attempt that ended, with its result. */
  latched: nodeResult.optional(),
});
export type NodeState = z.infer<typeof nodeState>;

export const EMPTY_STATE: NodeState = { stateVersion: 1, created: [] };

/** The record of one transaction. Every method is durable when it resolves. */
export interface Journal {
  /** Before `apply`: from here on the host may differ from what it was, and `intent` says how it was. */
  intended(step: string, intent?: unknown): Promise<void>;
  applied(step: string): Promise<void>;
  undone(step: string): Promise<void>;
  /** From here on it is only taken back. */
  failing(step: string, error: KataError): Promise<void>;
}

/** The journal as a file. One process at a time: the caller holds the lock. */
export class StateFile implements Journal {
  readonly #host: Host;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(host: Host) {
    this.#host = host;
  }

  /** What a fresh host has, when there is no file. Throws KATA_E_IO when it cannot be understood. */
  async read(): Promise<NodeState> {
    return (await readState(this.#host)) ?? EMPTY_STATE;
  }

  async update(change: (state: NodeState) => NodeState): Promise<void> {
    const next = this.#queue.then(async () => {
      const bytes = Buffer.from(`${JSON.stringify(change(await this.read()), null, 1)}\n`);
      await writeHostFile(
        this.#host,
        { path: STATE_FILE, mode: 0o600, uid: ownUid(), gid: ownGid() },
        bytes,
      );
    });
    this.#queue = next.catch(() => undefined);
    return next;
  }

  /** Artifacts are brought. An interrupted transaction of the engine stays in the record beside it. */
  begin(_stage: 'stage', attempt: string): Promise<void> {
    return this.update((state) => ({ ...state, staging: { attempt, steps: [] } }));
  }

  /** The artifacts are there, or what there was of them is gone. */
  end(): Promise<void> {
    return this.update(({ staging: _over, ...state }) => state);
  }

  intended(step: string, intent?: unknown): Promise<void> {
    return this.#mark(step, 'intended', intent);
  }

  applied(step: string): Promise<void> {
    return this.#mark(step, 'applied');
  }

  undone(step: string): Promise<void> {
    return this.#mark(step, 'undone');
  }

  failing(): Promise<void> {
    return Promise.resolve();
  }

  #mark(name: string, mark: RecordedStep['state'], intent?: unknown): Promise<void> {
    return this.update(({ staging, ...state }) =>
      staging === undefined
        ? state
        : { ...state, staging: { ...staging, steps: marked(staging.steps, name, mark, intent) } },
    );
  }

  /** A transaction of the engine. `steps` are those of an interrupted run that this one goes on with. */
  async open(
    stage: Transaction['stage'],
    attempt: string,
    carriedOut: Wish,
    steps: readonly RecordedStep[] = [],
  ): Promise<Journal> {
    if (steps.length === 0) await this.#dropUndo();
    await this.update((state) => ({
      ...state,
      deployment: carriedOut.plan.deployment,
      transaction: { stage, attempt, wish: carriedOut, steps: [...steps] },
    }));
    return this.opened();
  }

  /** The journal of the engine's transaction that is open. */
  opened(): Journal {
    const mark = (name: string, mark: RecordedStep['state'], intent?: unknown): Promise<void> =>
      this.#change((open) => ({ ...open, steps: marked(open.steps, name, mark, intent) }));
    return {
      intended: (step, intent) => mark(step, 'intended', intent),
      applied: (step) => mark(step, 'applied'),
      undone: (step) => mark(step, 'undone'),
      failing: (step, { code, reason, message, remedy }) =>
        this.#change((open) => ({ ...open, failure: { code, step, reason, message, remedy } })),
    };
  }

  /**
   * The engine's transaction is over, one way or the other: its edit can no longer be taken back by itself.
   * With `latch`, a re-run of this attempt answers with that result.
   */
  async conclude(change: (state: NodeState) => NodeState, latch?: NodeResult): Promise<void> {
    let backup: string | undefined;
    await this.update((before) => {
      const { transaction: _over, engine, ...state } = change(before);
      backup = engine?.change?.backup;
      return {
        ...state,
        ...(engine === undefined ? {} : { engine: settled(engine) }),
        ...(latch === undefined ? {} : { latched: latch }),
      };
    });
    if (backup !== undefined) await rm(this.#host.at(backup), { force: true });
    await this.#dropUndo();
  }

  /** It could not be taken back: it stays open for the next run, and a re-run of this attempt gets this answer. */
  latch(result: NodeResult): Promise<void> {
    return this.update((state) => ({ ...state, latched: result }));
  }

  /** The engine's part of the state, behind the interface that the engine steps know. */
  engineRecord(): EngineRecordStore {
    return {
      get: async () => (await this.read()).engine,
      set: (engine) => this.update((state) => ({ ...state, engine })),
      clear: () => this.update(({ engine: _taken, ...state }) => state),
    };
  }

  #change(change: (open: Transaction) => Transaction): Promise<void> {
    return this.update((state) =>
      state.transaction === undefined
        ? state
        : { ...state, transaction: change(state.transaction) },
    );
  }

  async #dropUndo(): Promise<void> {
    await rm(this.#host.at(UNDO_DIRECTORY), { recursive: true, force: true });
  }
}

function settled({ change: _settled, ...engine }: EngineRecord): EngineRecord {
  return engine;
}

/** The intent stays as it was recorded first. */
function marked(
  steps: readonly RecordedStep[],
  name: string,
  state: RecordedStep['state'],
  intent: unknown,
): RecordedStep[] {
  const known = steps.find((step) => step.name === name);
  const recorded = known?.intent ?? intent;
  return [
    ...steps.filter((step) => step !== known),
    { name, state, ...(recorded === undefined ? {} : { intent: recorded }) },
  ];
}

/** Versions that something may still lead to: they must not be collected. */
export function referencedDigests({
  staged,
  active,
  previous,
  transaction: open,
}: NodeState): ReadonlySet<string> {
  const all = [staged, active, previous, open?.wish.activation?.installed];
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

// Root, except where tests run as somebody else.
function ownUid(): number {
  return process.getuid?.() ?? 0;
}
function ownGid(): number {
  return process.getgid?.() ?? 0;
}
