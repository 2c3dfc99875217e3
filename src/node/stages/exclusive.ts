/**
 * One installer at a time on a host: our own lock, and the one that kata-deploy takes, so that the two
 * never edit the engine's configuration at once. Whoever gets it first puts in order what was interrupted.
 */
import { access } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError, toKataError } from '../../errors.ts';
import type { NodeState, Transaction } from '../transaction/journal.ts';
import type { StageContext } from './context.ts';
import { recover, type Recovery } from './recovery.ts';
import { asksForTheSame } from './wish.ts';

export const LOCK_FILE = join(HOST_PATHS.state, 'lock');

const LOCKS = [LOCK_FILE, '/run/lock/kata-deploy.lock'];

/** The Pod of another revision may be taking back what it did. */
const LOCK_WAIT_MS = 60_000;

/**
 * Holds the locks while `work` runs. A lock whose directory does not exist is not taken. `work` gets the
 * interrupted transaction that `recovery` leaves to it. Throws KATA_E_BUSY, StageFailure of the step `Recovery`.
 */
export async function exclusively<T>(
  context: StageContext,
  work: (open: Transaction | undefined) => Promise<T>,
  recovery: Recovery = { keeps: (open) => asksForTheSame(open, context.plan) },
): Promise<T> {
  const { host, lockFiles, signal } = context;
  const present = await Promise.all(LOCKS.map((path) => exists(host.at(dirname(path)))));
  const files = LOCKS.filter((_, i) => present[i]).map((hostPath) => ({
    hostPath,
    at: host.at(hostPath),
  }));
  const inOrder = async (): Promise<T> => work(await recover(context, recovery));
  if (files.length === 0) return inOrder();
  const lock = await lockFiles(files, LOCK_WAIT_MS, signal);
  try {
    return await inOrder();
  } finally {
    await lock.release();
  }
}

/**
 * Records how a run ended. The host is as the result says whether or not that succeeds, so a failure (a
 * full disk) is shown and does not change the result.
 */
export async function writeDown(
  { observe }: StageContext,
  record: () => Promise<void>,
): Promise<void> {
  const startedAt = performance.now();
  await record().catch((error: unknown) => {
    observe('Journal', 'failed', Math.round(performance.now() - startedAt), toKataError(error));
  });
}

/** Two KataDeployments never share a node. Throws KATA_E_NODE_CONFLICT. */
export function requireOwnership(state: NodeState, deployment: string): void {
  if (state.deployment !== undefined && state.deployment !== deployment) {
    throw new KataError('KATA_E_NODE_CONFLICT', { node: 'this node', owner: state.deployment });
  }
}

async function exists(at: string): Promise<boolean> {
  return access(at).then(
    () => true,
    () => false,
  );
}
