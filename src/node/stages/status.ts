/**
 * Where a host stands: what is installed, what the engine serves, what was interrupted, and what to do next.
 *
 * Only looks, takes no lock, and answers as well as it can on a host where everything is broken.
 */
import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import type { NodePlan } from '../../crds/nodePlan.ts';
import { OUTCOMES } from '../../crds/nodeResult.ts';
import { KataError, toKataError } from '../../errors.ts';
import { takeInventory } from '../artifacts/inventory.ts';
import { readVersion } from '../artifacts/version.ts';
import { findUses, type Uses } from '../artifacts/versionUse.ts';
import type { Host } from '../host/host.ts';
import {
  EMPTY_STATE,
  namedRevisions,
  STATE_FILE,
  readState,
  type NodeState,
} from '../transaction/journal.ts';
import type { EnginePort } from './context.ts';
import { LOCK_FILE } from './exclusive.ts';
import { inTheWay } from './inUse.ts';
import { PHASES, nextOf, phaseOf } from './phase.ts';

export const STATUS_VERSION = 1;

const revision = z.object({ revision: z.string(), digest: z.string(), version: z.string() });
const served = revision.extend({ handlers: z.array(z.string()) });

/** A directory below /opt/kata/versions. */
const versionOnHost = z.object({
  digest: z.string(),
  /** Of Kata. Missing when the directory is damaged: without what says that it is complete. */
  version: z.string().exactOptional(),
  /** Of its files. Those that are the same in several versions take their room once. */
  sizeBytes: z.number().exactOptional(),
  /**
   * `active`, `previous`, `staged`, `overtaken` (staged before the last one), `interrupted` (a run that has not ended leads
   * to it), `used by PROGRAM (pid PID)`, `configuration of revision NAME`. Empty: it goes after the next `apply` that ends
   * well. It stays, too, when `PATH cannot be read`.
   */
  keptFor: z.array(z.string()),
});

export const hostStatus = z.object({
  statusVersion: z.literal(STATUS_VERSION),
  phase: z.enum(PHASES),
  /** What to do, in a sentence. */
  next: z.string(),
  installed: z.boolean(),
  deployment: z.string().exactOptional(),
  staged: revision.exactOptional(),
  active: served.exactOptional(),
  /** Where `rollback` leads. */
  previous: served.exactOptional(),
  /** Begun and not ended. */
  transaction: z
    .object({
      stage: z.string(),
      attempt: z.string(),
      revision: z.string(),
      steps: z.array(
        z.object({ name: z.string(), state: z.enum(['intended', 'applied', 'undone']) }),
      ),
      failure: z.object({ step: z.string(), message: z.string() }).exactOptional(),
    })
    .exactOptional(),
  lastOutcome: z.enum(OUTCOMES).exactOptional(),
  versions: z.array(versionOnHost),
  /** What interrupted runs have left, as paths: goes with the next `apply`. */
  leftovers: z.array(z.string()),
  engine: z
    .object({
      name: z.string(),
      version: z.string(),
      configPath: z.string(),
      running: z.boolean(),
    })
    .exactOptional(),
  /** Handlers that the engine serves now; missing when it does not answer. */
  served: z.array(z.string()).exactOptional(),
  /** Processes and sandboxes that run from our files, in words. */
  inUseBy: z.array(z.string()),
  /** Why something above is missing. */
  problems: z.array(z.string()),
});
export type HostStatus = z.infer<typeof hostStatus>;

const ANY_ENGINE: NodePlan['engine'] = { type: 'Auto', restart: 'WhenNeeded' };

export async function readHostStatus(
  host: Host,
  port: EnginePort,
  wanted: NodePlan['engine'] | undefined,
  signal: AbortSignal,
): Promise<HostStatus> {
  const problems: string[] = [];
  const orUndefined = async <T>(work: Promise<T>): Promise<T | undefined> =>
    work.catch((error: unknown) => {
      problems.push(toKataError(error).message);
      return undefined;
    });
  const state = await readState(host).catch((error: unknown) => toKataError(error));
  if (state instanceof KataError) problems.push(state.message);
  const engine = await orUndefined(port.discoverEngine(host, wanted ?? ANY_ENGINE, signal));
  const handlers =
    engine?.running === true
      ? await orUndefined(port.servedHandlers(host, engine, signal))
      : undefined;
  const known = state instanceof KataError ? undefined : state;
  const uses = await orUndefined(findUses(host, signal));
  const facts = {
    installed: state !== undefined,
    ...partsOf(known),
    ...((await orUndefined(contentOf(host, state, uses, signal))) ?? NO_CONTENT),
    ...(handlers === undefined ? {} : { served: handlers }),
    inUseBy: uses === undefined ? [] : inTheWay(uses),
    problems,
  };
  const phase =
    state instanceof KataError ? 'NeedsRepair' : phaseOf(known, handlers, await isLockHeld(host));
  return {
    statusVersion: STATUS_VERSION,
    phase,
    next: state instanceof KataError ? state.remedy : nextOf(phase, known),
    ...facts,
    ...(engine === undefined
      ? {}
      : {
          engine: {
            name: engine.name,
            version: engine.version,
            configPath: engine.configPath,
            running: engine.running,
          },
        }),
  };
}

const NO_CONTENT: Pick<HostStatus, 'versions' | 'leftovers'> = { versions: [], leftovers: [] };

async function contentOf(
  host: Host,
  state: NodeState | KataError | undefined,
  uses: Uses | undefined,
  signal: AbortSignal,
): Promise<typeof NO_CONTENT> {
  const named = state instanceof KataError ? [] : namedRevisions(state ?? EMPTY_STATE);
  const { versions, leftovers, unreadable } = await takeInventory(host, named, signal, uses);
  const doubts = [...(state instanceof KataError ? [STATE_FILE] : []), ...unreadable].slice(0, 1);
  const known = await Promise.all(versions.map(({ name }) => readVersion(host, name)));
  return {
    leftovers: [...leftovers],
    versions: versions.map(({ name, keptFor }, index) => {
      const summary = known[index];
      return {
        digest: name,
        ...(summary === undefined
          ? {}
          : { version: summary.version, sizeBytes: summary.sizeBytes }),
        keptFor: keptFor.length > 0 ? [...keptFor] : doubts.map((path) => `${path} cannot be read`),
      };
    }),
  };
}

function partsOf(
  state: NodeState | undefined,
): Pick<
  HostStatus,
  'deployment' | 'staged' | 'active' | 'previous' | 'transaction' | 'lastOutcome'
> {
  if (state === undefined) return {};
  const { deployment, staged, active, previous, transaction: open, latched } = state;
  return {
    ...(deployment === undefined ? {} : { deployment }),
    ...(staged === undefined ? {} : { staged }),
    ...(active === undefined ? {} : { active: served.parse(active) }),
    ...(previous === undefined ? {} : { previous: served.parse(previous) }),
    ...(open === undefined
      ? {}
      : {
          transaction: {
            stage: open.stage,
            attempt: open.attempt,
            revision: open.wish.plan.revision,
            steps: open.steps.map(({ name, state: mark }) => ({ name, state: mark })),
            ...(open.failure === undefined
              ? {}
              : { failure: { step: open.failure.step, message: open.failure.message } }),
          },
        }),
    ...(latched === undefined ? {} : { lastOutcome: latched.outcome }),
  };
}

/** A lock that a living process holds is listed in /proc/locks with the file's device and inode. */
async function isLockHeld(host: Host): Promise<boolean> {
  try {
    const { ino } = await stat(host.at(LOCK_FILE));
    const locks = await readFile(host.at('/proc/locks'), 'utf8');
    return locks.split('\n').some((line) => line.includes(' FLOCK ') && line.includes(`:${ino} `));
  } catch {
    return false;
  }
}
