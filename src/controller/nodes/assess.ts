/**
 * Where one node stands: a pure function of its KataNode, the Pod that works on it and the clock.
 * Every way in which an attempt can go is one line of the table of outcomes or one check of the list.
 *
 * Must never turn Unknown into success, nor forget a verified node because its Pod was evicted.
 */
import { KataError, ERRORS, type ErrorCode } from '../../errors.ts';
import type { KataNodeSpec, KataNodeStatus, Phase } from '../../crds/kataNode.ts';
import type { NodeResult, Outcome, Stage } from '../../crds/nodeResult.ts';
import type { NodePodView, StageState } from '../cache/nodePod.ts';
import { timeMs, type KataNodeView, type NodeView } from '../cache/views.ts';

export interface AttemptInput {
  readonly node: NodeView;
  readonly kataNode: KataNodeView;
  /** The Pod of the revision that KataNode names; undefined while there is none. */
  readonly pod: NodePodView | undefined;
  readonly nodeTimeoutMs: number;
  readonly namespace: string;
  readonly nowMs: number;
}

type NodeError = NonNullable<KataNodeStatus['error']>;

const PHASE_OF_OUTCOME: Readonly<Record<Exclude<Outcome, 'done' | 'skipped'>, Phase>> = {
  unsupported: 'Unsupported',
  refused: 'Failed',
  rolledBack: 'RolledBack',
  failed: 'Failed',
  awaitingRestart: 'AwaitingRestart',
};

const PHASE_AFTER: Readonly<Record<Stage, Phase>> = {
  preflight: 'Preflight',
  stage: 'Staged',
  activate: 'Ready',
  remove: 'Removing',
};

/** Phases in which an attempt has ended, well or badly. */
export const ENDED: readonly Phase[] = [
  'Ready',
  'Failed',
  'RolledBack',
  'Unsupported',
  'Skipped',
  'AwaitingRestart',
];
export const FAILED: readonly Phase[] = ['Failed', 'RolledBack'];

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

interface Seen {
  readonly results: readonly NodeResult[];
  readonly ended: { readonly phase: Phase; readonly error: NodeError | undefined } | undefined;
  /** The last stage that went well, as a phase. */
  readonly progress: Phase;
  readonly current: Stage;
  readonly timedOut: boolean;
}

function lookAt(input: AttemptInput): Seen {
  const stages = input.kataNode.spec.revision === 'remove' ? REMOVE_STAGES : INSTALL_STAGES;
  const results: NodeResult[] = [];
  let progress: Phase = stages === REMOVE_STAGES ? 'Removing' : 'Claimed';
  let current: Stage = stages[0];
  let ended: Seen['ended'];
  for (const stage of stages) {
    current = stage;
    const state: StageState = input.pod?.stages[stage] ?? { kind: 'pending' };
    if (state.kind === 'pending') break;
    if (state.kind === 'unknown') {
      ended = {
        phase: 'Failed',
        error: nodeError('KATA_E_RESULT_UNKNOWN', stage, { stage, cause: state.cause }),
      };
      break;
    }
    results.push(state.result);
    if (state.result.outcome !== 'done') {
      ended = endedBadly(state.result);
      break;
    }
    progress = PHASE_AFTER[stage];
    if (stage === stages.at(-1)) ended = { phase: progress, error: undefined };
  }
  return {
    results,
    ended,
    progress,
    current,
    timedOut: input.nowMs - lastHeardMs(input, progress) > input.nodeTimeoutMs,
  };
}

function claimedAtMs({ kataNode, nowMs }: AttemptInput): number {
  return timeMs(kataNode.spec.claimedAt) ?? nowMs;
}

/** The claim, or the last stage that ended since: a node that reports has not hung, however slow it is. */
function lastHeardMs(input: AttemptInput, progress: Phase): number {
  const { status, spec } = input.kataNode;
  const claimedMs = claimedAtMs(input);
  if (status === undefined || status.revision !== spec.revision || ENDED.includes(status.phase))
    return claimedMs;
  const sinceMs = status.phase === progress ? timeMs(status.since) : input.nowMs;
  return Math.max(claimedMs, sinceMs ?? claimedMs);
}

const INSTALL_STAGES = ['preflight', 'stage', 'activate'] as const;
const REMOVE_STAGES = ['remove'] as const;

function endedBadly(result: NodeResult): { phase: Phase; error: NodeError } {
  if (result.outcome === 'done' || result.outcome === 'skipped') {
    // Skipped without an earlier bad result: the hand-off between the containers was lost.
    return {
      phase: 'Failed',
      error: nodeError('KATA_E_RESULT_UNKNOWN', result.stage, {
        stage: result.stage,
        cause: 'skipped without a reason',
      }),
    };
  }
  const error =
    result.error ??
    nodeError('KATA_E_RESULT_UNKNOWN', result.stage, {
      stage: result.stage,
      cause: `outcome ${result.outcome} without an error`,
    });
  return { phase: PHASE_OF_OUTCOME[result.outcome], error: clipped(error) };
}

function timeoutError(input: AttemptInput, seen: Seen): NodeError {
  const base = nodeError('KATA_E_NODE_TIMEOUT', seen.current, {
    node: input.node.name,
    seconds: Math.round(input.nodeTimeoutMs / 1000),
    step: seen.current,
    namespace: input.namespace,
  });
  const waiting = input.pod?.waiting;
  return waiting === undefined
    ? base
    : { ...base, message: clip(`${base.message}; its Pod waits: ${waiting}`) };
}

function nodeError(
  code: ErrorCode,
  step: string,
  parameters: Record<string, string | number>,
): NodeError {
  const error = new KataError(code, parameters);
  return clipped({
    code,
    step,
    reason: error.reason,
    message: error.message,
    remedy: error.remedy,
  });
}

function clipped(error: NodeError): NodeError {
  return { ...error, message: clip(error.message), remedy: clip(error.remedy) };
}

function clip(text: string): string {
  return text.length <= 1000 ? text : `${text.slice(0, 997)}...`;
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
  return {
    ...facts,
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
