/**
 * The journal: the state file with its changes, each durable when it resolves.
 *
 * Owns how a transaction begins, is marked step by step, and ends. What it says must outlive a crash that comes
 * right after; it never decides what to do.
 */
import { rename, rm } from 'node:fs/promises';
import type { NodeResult } from '../../crds/nodeResult.ts';
import type { KataError } from '../../errors.ts';
import type { EngineRecord, EngineRecordStore } from '../engine/record.ts';
import { writeHostFile } from '../host/hostFile.ts';
import type { Host } from '../host/host.ts';
import { ioError } from '../host/ioError.ts';
import {
  EMPTY_STATE,
  STATE_FILE,
  UNDO_DIRECTORY,
  readState,
  type NodeState,
  type RecordedStep,
  type Transaction,
  type Wish,
} from './state.ts';

export {
  EMPTY_STATE,
  STATE_FILE,
  UNDO_DIRECTORY,
  namedRevisions,
  readState,
  salvageState,
  type ActivatedRevision,
  type Installed,
  type NamedRevision,
  type NodeState,
  type RecordedStep,
  type Transaction,
  type Wish,
} from './state.ts';

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

  /** What a fresh host has, when there is no file. Throws KATA_E_STATE_UNREADABLE. */
  async read(): Promise<NodeState> {
    return (await readState(this.#host)) ?? EMPTY_STATE;
  }

  async update(change: (state: NodeState) => NodeState): Promise<void> {
    const next = this.#queue.then(async () => this.#write(change(await this.read())));
    this.#queue = next.catch(() => undefined);
    return next;
  }

  /** In the place of one that cannot be read, which stays beside it. */
  async replace(state: NodeState): Promise<void> {
    const aside = this.#host.at(`${STATE_FILE}.unreadable`);
    try {
      await rm(aside, { recursive: true, force: true });
      await rename(this.#host.at(STATE_FILE), aside);
    } catch (error) {
      throw ioError(STATE_FILE, error);
    }
    await this.#write(state);
  }

  #write(state: NodeState): Promise<void> {
    const file = { path: STATE_FILE, mode: 0o600, uid: ownUid(), gid: ownGid() };
    return writeHostFile(this.#host, file, Buffer.from(`${JSON.stringify(state, null, 1)}\n`));
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

/** An edit that was not taken back is one that the engine's binary has accepted. */
function settled({ change, ...engine }: EngineRecord): EngineRecord {
  return change?.afterSha256 === undefined || change.target === 'none'
    ? engine
    : { ...engine, judged: { sha256: change.afterSha256, target: change.target } };
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

// Root, except where tests run as somebody else.
function ownUid(): number {
  return process.getuid?.() ?? 0;
}
function ownGid(): number {
  return process.getgid?.() ?? 0;
}
