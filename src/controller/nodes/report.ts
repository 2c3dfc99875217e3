/**
 * What the Pod that works on a node has reported, stage by stage, and whether it has been silent for too long.
 * Every way in which an attempt can end is one line of the table of outcomes.
 *
 * Pure. Must never turn Unknown into success.
 */
import { KataError, type ErrorCode } from '../../errors.ts';
import type { KataNodeStatus, Phase } from '../../crds/kataNode.ts';
import { REMOVE } from '../../crds/names.ts';
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

export type NodeError = NonNullable<KataNodeStatus['error']>;

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

/** What the Pod of an attempt has said so far. */
export interface Seen {
  readonly results: readonly NodeResult[];
  readonly ended: { readonly phase: Phase; readonly error: NodeError | undefined } | undefined;
  /** The last stage that went well, as a phase. */
  readonly progress: Phase;
  readonly current: Stage;
  readonly timedOut: boolean;
}

export function lookAt(input: AttemptInput): Seen {
  const stages = input.kataNode.spec.revision === REMOVE ? REMOVE_STAGES : INSTALL_STAGES;
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

export function claimedAtMs({ kataNode, nowMs }: AttemptInput): number {
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

export function timeoutError(input: AttemptInput, seen: Seen): NodeError {
  const base = nodeError('KATA_E_NODE_TIMEOUT', seen.current, {
    node: input.node.name,
    seconds: Math.round(input.nodeTimeoutMs / 1000),
    step: seen.current,
    namespace: input.namespace,
  });
  const why = waitingFor(input, seen);
  return why === undefined ? base : { ...base, message: clip(`${base.message}; ${why}`) };
}

function waitingFor({ pod, namespace }: AttemptInput, { results }: Seen): string | undefined {
  if (pod?.waiting !== undefined) return `its Pod waits: ${pod.waiting}`;
  // A volume that cannot be mounted is told by Events alone.
  return pod !== undefined && results.length === 0
    ? `its Pod has not ended its first step: kubectl -n ${namespace} describe pod ${pod.name} may say why`
    : undefined;
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
