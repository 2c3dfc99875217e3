/**
 * What the host remembers of us between runs: one small file, replaced whole and flushed at every change.
 *
 * Owns `/opt/kata/state/state.json`: what we made, which revision is active, the engine edit that must be
 * taken back, and the transaction under way with each step's intent before it is applied. What it says
 * must outlive a crash that comes right after; it never decides what to do.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { HOST_PATHS } from '../../crds/names.ts';
import { nodeResult, type NodeResult } from '../../crds/nodeResult.ts';
import { KataError, causeOf } from '../../errors.ts';
import { engineRecord, type EngineRecordStore } from '../engine/record.ts';
import { writeHostFile } from '../host/hostFile.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';

export const STATE_FILE = join(HOST_PATHS.state, 'state.json');

const installed = z.object({ revision: z.string(), digest: z.string(), version: z.string() });

const stepState = z.object({ name: z.string(), state: z.enum(['intended', 'applied', 'undone']) });

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
  active: installed.extend({ handlers: z.array(z.string()) }).optional(),
  /** Begun and not ended: after a crash it tells what was under way. */
  transaction: z
    .object({ stage: z.string(), attempt: z.string(), steps: z.array(stepState) })
    .optional(),
  /** The last attempt that ended, with its result. */
  latched: nodeResult.optional(),
});
export type NodeState = z.infer<typeof nodeState>;

export const EMPTY_STATE: NodeState = { stateVersion: 1, created: [] };

/** The record of one transaction. Every method is durable when it resolves. */
export interface Journal {
  begin(stage: string, attempt: string): Promise<void>;
  /** Before `apply`: from here on the host may differ from what it was. */
  intended(step: string): Promise<void>;
  applied(step: string): Promise<void>;
  undone(step: string): Promise<void>;
  /** The transaction is over. With `latch`, a re-run of this attempt answers with that result. */
  end(latch?: NodeResult): Promise<void>;
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

  begin(stage: string, attempt: string): Promise<void> {
    return this.update((state) => ({ ...state, transaction: { stage, attempt, steps: [] } }));
  }

  intended(step: string): Promise<void> {
    return this.#mark(step, 'intended');
  }

  applied(step: string): Promise<void> {
    return this.#mark(step, 'applied');
  }

  undone(step: string): Promise<void> {
    return this.#mark(step, 'undone');
  }

  end(latch?: NodeResult): Promise<void> {
    return this.update(({ transaction: _over, ...state }) =>
      latch === undefined ? state : { ...state, latched: latch },
    );
  }

  /** The engine's part of the state, behind the interface that the engine steps know. */
  engineRecord(): EngineRecordStore {
    return {
      get: async () => (await this.read()).engine,
      set: (engine) => this.update((state) => ({ ...state, engine })),
      clear: () => this.update(({ engine: _taken, ...state }) => state),
    };
  }

  #mark(name: string, mark: z.infer<typeof stepState>['state']): Promise<void> {
    return this.update((state) => {
      if (state.transaction === undefined) return state;
      const others = state.transaction.steps.filter((step) => step.name !== name);
      return {
        ...state,
        transaction: { ...state.transaction, steps: [...others, { name, state: mark }] },
      };
    });
  }
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
