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
import { listVersions } from '../artifacts/version.ts';
import type { Host } from '../host/host.ts';
import { readState, type NodeState } from '../transaction/journal.ts';
import type { EnginePort } from './context.ts';
import { LOCK_FILE } from './exclusive.ts';
import { usersOfVersions } from './inUse.ts';

export const STATUS_VERSION = 1;

/**
 * - `NotInstalled`: nothing of kata-operator is here
 * - `Changing`: a run is under way
 * - `Interrupted`: a run ended in the middle, and nobody has gone on with it
 * - `NeedsRepair`: a run failed and could not take everything back, or its record cannot be read
 * - `Staged`: artifacts are here, and the engine was never told
 * - `AwaitingRestart`: everything is in place but for the restart of the engine
 * - `Active`: the engine serves the handlers
 * - `Degraded`: it should serve them and does not
 */
export const PHASES = [
  'NotInstalled',
  'Changing',
  'Interrupted',
  'NeedsRepair',
  'Staged',
  'AwaitingRestart',
  'Active',
  'Degraded',
] as const;
export type Phase = (typeof PHASES)[number];

const revision = z.object({ revision: z.string(), digest: z.string(), version: z.string() });
const served = revision.extend({ handlers: z.array(z.string()) });

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
  /** Complete ones below /opt/kata/versions. */
  versions: z.array(z.object({ digest: z.string(), version: z.string(), sizeBytes: z.number() })),
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
  const versions = await listVersions(host);
  const known = state instanceof KataError ? undefined : state;
  const facts = {
    installed: state !== undefined,
    ...partsOf(known),
    versions: versions.map(({ digest, version, sizeBytes }) => ({ digest, version, sizeBytes })),
    ...(handlers === undefined ? {} : { served: handlers }),
    inUseBy: await usersOfVersions(host),
    problems,
  };
  const phase =
    state instanceof KataError ? 'NeedsRepair' : phaseOf(known, handlers, await isLockHeld(host));
  return {
    statusVersion: STATUS_VERSION,
    phase,
    next: nextOf(phase, known),
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

function phaseOf(
  state: NodeState | undefined,
  handlers: readonly string[] | undefined,
  isChanging: boolean,
): Phase {
  if (isChanging) return 'Changing';
  if (state === undefined) return 'NotInstalled';
  const { transaction: open, active, staged, staging, latched } = state;
  if (open?.failure !== undefined) return 'NeedsRepair';
  if (open !== undefined || staging !== undefined) return 'Interrupted';
  if (active === undefined) return staged === undefined ? 'NotInstalled' : 'Staged';
  if (active.handlers.every((handler) => handlers?.includes(handler) === true)) return 'Active';
  return latched?.outcome === 'awaitingRestart' ? 'AwaitingRestart' : 'Degraded';
}

function nextOf(phase: Phase, state: NodeState | undefined): string {
  const isLast = state?.transaction === undefined && state?.rolledBack === true;
  const earlier = state?.transaction === undefined ? state?.previous : state.active;
  const back =
    earlier === undefined || isLast
      ? 'kata-node remove takes everything off'
      : `kata-node rollback returns to revision ${earlier.revision}`;
  switch (phase) {
    case 'NotInstalled':
      return 'Nothing to do. kata-node apply --plan FILE installs.';
    case 'Changing':
      return 'Wait: a run of kata-node holds the lock. Ask again in a minute.';
    case 'Interrupted':
      return `Run the same command with the same plan again: it goes on where it was interrupted. Or: ${back}.`;
    case 'NeedsRepair':
      return `Remove the cause that is named above, then run the same command again: it first takes back what is left. Or: ${back}.`;
    case 'Staged':
      return 'kata-node activate --plan FILE makes the engine serve it.';
    case 'AwaitingRestart':
      return 'Restart the engine when it suits you, then run kata-node apply with the same plan to confirm.';
    case 'Active':
      return 'Nothing to do.';
    case 'Degraded':
      return `Look at the engine first. kata-node apply with the plan of this revision repairs its configuration; ${back}.`;
  }
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
