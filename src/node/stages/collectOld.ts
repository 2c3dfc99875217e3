/**
 * After a good activation: versions and revisions of before the previous one go, unless something still runs from them.
 *
 * Never makes a good activation a bad one, and never holds it up for long: what cannot be removed in time has lost its
 * name already, and goes with the next run.
 */
import { KataError } from '../../errors.ts';
import { collect } from '../artifacts/collect.ts';
import { namedRevisions, type NodeState } from '../transaction/journal.ts';
import { narrow } from '../transaction/runner.ts';
import type { StageContext } from './context.ts';
import type { ResultBuilder } from './resultBuilder.ts';

export const COLLECTION_STEP = 'OldVersions';

/** A gigabyte in a thousand files takes half a second; Pods wait for this node to be ready. */
const COLLECTION_MS = 2000;

/** Never throws. To be called with the lock held, and with the state as it is on disk. */
export async function collectOld(
  { host, observe, signal }: StageContext,
  builder: ResultBuilder,
  state: NodeState,
): Promise<void> {
  const deadline = AbortSignal.timeout(COLLECTION_MS);
  const named = namedRevisions(state);
  const startedAt = performance.now();
  let changed = false;
  let error: KataError | undefined;
  try {
    const { removed, left, unreadable, failures } = await collect({
      host,
      named,
      signal,
      deadline,
    });
    changed = removed.length + left.length > 0;
    error = failures[0];
    const [path] = unreadable;
    if (path !== undefined)
      error ??= new KataError('KATA_E_IO', {
        path,
        cause: 'it cannot be read, so nobody can tell which versions are in use: all of them stay',
      });
  } catch (thrown) {
    error = narrow(thrown, AbortSignal.any([signal, deadline]), COLLECTION_STEP);
  }
  const ms = Math.round(performance.now() - startedAt);
  builder.note({ name: COLLECTION_STEP, ms, changed });
  observe(
    COLLECTION_STEP,
    error === undefined ? (changed ? 'changed' : 'unchanged') : 'failed',
    ms,
    error,
  );
}
