/**
 * In which phase a host is, in one word, and what to do next, in a sentence. Decides from what others have read.
 */
import type { NodeState } from '../transaction/journal.ts';

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

export function phaseOf(
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

export function nextOf(phase: Phase, state: NodeState | undefined): string {
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
