/**
 * Where one node stands: a pure function of its KataNode, of what the Pod that works on it has reported, and of the
 * clock.
 *
 * Must never turn Unknown into success, nor forget a verified node because its Pod was evicted.
 */
import { ERRORS } from '../../errorTable.ts';
import type { KataNodeSpec, KataNodeStatus } from '../../crds/kataNode.ts';
import type { NodeResult } from '../../crds/nodeResult.ts';
import { timeMs } from '../cache/views.ts';
import {
  claimedAtMs,
  ENDED,
  lookAt,
  timeoutError,
  type AttemptInput,
  type NodeError,
  type Seen,
} from './report.ts';

/** True when a new attempt was started after the last one had ended. */
export function isRenewed(spec: KataNodeSpec, status: KataNodeStatus): boolean {
  const claimedAtMs = timeMs(spec.claimedAt);
  const sinceMs = timeMs(status.since);
  return claimedAtMs !== undefined && sinceMs !== undefined && claimedAtMs > sinceMs;
}

/** The status that follows from what is seen now. */
export function assess(input: AttemptInput): KataNodeStatus {
  const previous = input.kataNode.status;
  const revision = input.kataNode.spec.revision;
  const seen = lookAt(input);
  if (previous !== undefined && isSettled(input, previous, seen)) return previous;
  const phase = seen.ended?.phase ?? (seen.timedOut ? 'Failed' : seen.progress);
  const error = seen.ended?.error ?? (seen.timedOut ? timeoutError(input, seen) : undefined);
  const attempt = input.pod?.uid ?? previous?.attempt;
  const samePhase =
    previous?.phase === phase && previous.revision === revision && previous.attempt === attempt;
  return {
    ...(previous === undefined ? {} : carriedOver(previous)),
    ...factsOf(seen.results),
    phase,
    ...(revision === undefined ? {} : { revision }),
    ...previousRevision(previous, revision),
    ...(attempt === undefined ? {} : { attempt }),
    attempts: attempts(input, previous),
    since:
      samePhase && previous.since !== undefined
        ? previous.since
        : new Date(Math.max(input.nowMs, claimedAtMs(input))).toISOString(),
    ...(error === undefined ? {} : { error }),
  };
}

/** Whether what was recorded of the present revision stands. */
function isSettled({ kataNode, pod }: AttemptInput, previous: KataNodeStatus, seen: Seen): boolean {
  if (previous.revision !== kataNode.spec.revision || !ENDED.includes(previous.phase)) return false;
  const hangs = seen.timedOut && isRenewed(kataNode.spec, previous);
  // A Pod that merely comes back (eviction, reboot) reopens nothing: only its next result counts.
  if (seen.ended === undefined) return !hangs;
  if (previous.attempt !== pod?.uid) return false;
  // This Pod's result is recorded. What was only a lack of one may still be overtaken by it, and after a
  // reboot kubelet runs the same Pod again, on a node that may have become another.
  return seen.ended.phase === previous.phase && !isLackOfResult(previous.error);
}

/** What stays true of a node whatever its attempts do. */
function carriedOver(previous: KataNodeStatus): Partial<KataNodeStatus> {
  const { error, steps, since, ...rest } = previous;
  return rest;
}

function factsOf(results: readonly NodeResult[]): Partial<KataNodeStatus> {
  if (results.length === 0) return {};
  const facts = Object.assign({}, ...results.map((result) => result.facts)) as NodeResult['facts'];
  const last = results.at(-1);
  const activated = last?.stage === 'activate' && last.outcome === 'done';
  // What came after preflight may have written: from then on only the next look at the host says that it is bare.
  const wrote = results.some(
    ({ stage, outcome }) => stage !== 'preflight' && outcome !== 'skipped',
  );
  return {
    ...facts,
    ...(wrote ? { installed: true } : {}),
    ...(activated ? { handlers: last.handlers } : {}),
    // A change that could not be taken back: nothing may be promised of this node any more.
    ...(last?.outcome === 'failed' ? { handlers: [] } : {}),
    ...(activated && last.skippedHandlers !== undefined
      ? { skippedHandlers: last.skippedHandlers }
      : {}),
    steps: results
      .flatMap((result) => result.steps.map((step) => ({ stage: result.stage, ...step })))
      .slice(-64),
    engineRestarts: sum(results, (result) => result.engineRestarts),
    bytesWritten: sum(results, (result) => result.bytesWritten),
    ...(last?.outageMs === undefined ? {} : { outageMs: last.outageMs }),
  };
}

function sum(results: readonly NodeResult[], of: (result: NodeResult) => number): number {
  return results.reduce((total, result) => total + of(result), 0);
}

function previousRevision(
  previous: KataNodeStatus | undefined,
  revision: string | undefined,
): Partial<KataNodeStatus> {
  if (previous?.revision === undefined || previous.revision === revision) return {};
  return previous.phase === 'Ready' ? { previousRevision: previous.revision } : {};
}

/** A success that lasted so long that what comes after it has nothing to do with what was before. */
const STEADY_MS = 2 * 60 * 60_000;

/** How many attempts at the present revision in a row. A Pod that was evicted and came back is not one more. */
function attempts({ kataNode }: AttemptInput, previous: KataNodeStatus | undefined): number {
  const { spec } = kataNode;
  if (previous?.revision !== spec.revision || previous?.attempts === undefined) return 1;
  if (!ENDED.includes(previous.phase) || !isRenewed(spec, previous)) return previous.attempts;
  const lastedMs = (timeMs(spec.claimedAt) ?? 0) - (timeMs(previous.since) ?? 0);
  return previous.phase === 'Ready' && lastedMs > STEADY_MS ? 1 : previous.attempts + 1;
}

function isLackOfResult(error: NodeError | undefined): boolean {
  return error?.code === 'KATA_E_NODE_TIMEOUT' || error?.code === 'KATA_E_RESULT_UNKNOWN';
}

/** True when trying again by itself may help. */
export function isRetryable(error: NodeError | undefined): boolean {
  if (error === undefined) return false;
  const entry = Object.entries(ERRORS).find(([code]) => code === error.code);
  return entry?.[1].disposition === 'retryable';
}
