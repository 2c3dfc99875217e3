/**
 * One node of a KataDeployment: the Node, its KataNode and its Pod, joined, with what follows from them.
 */
import type { KataNodeSpec, KataNodeStatus } from '../../crds/kataNode.ts';
import { REMOVE } from '../../crds/names.ts';
import type { NodePodView } from '../cache/nodePod.ts';
import type { KataNodeView, NodeView } from '../cache/views.ts';
import { isRenewed } from './assess.ts';
import { ENDED, FAILED } from './report.ts';
import { retryOf, type Retry } from './attempts.ts';

/**
 * - `waiting`: must be given the target revision
 * - `inProgress`: has it, and no result yet
 * - `current`: verified at it
 * - `failed`, `unsupported`, `awaitingRestart`: ended otherwise at it
 * - `returned`: failed at it, and was given the revision before again
 * - `skipped`: no Pod of ours can run there, or a person wants none to
 * - `conflict`: belongs to another KataDeployment
 * - `removing`: is being cleaned
 */
export type MemberState =
  | 'waiting'
  | 'inProgress'
  | 'current'
  | 'failed'
  | 'unsupported'
  | 'awaitingRestart'
  | 'returned'
  | 'skipped'
  | 'conflict'
  | 'removing';

export interface Member {
  readonly node: NodeView;
  readonly kataNode: KataNodeView | undefined;
  readonly pod: NodePodView | undefined;
  readonly status: KataNodeStatus | undefined;
  readonly state: MemberState;
  /** A Pod may be at work there, at whatever revision: it is let finish. */
  readonly working: boolean;
  /** Why another attempt is due, when one is. */
  readonly retry: Retry | undefined;
  /** Why no Pod of ours can run there, or shall. */
  readonly hindrance: string | undefined;
  /** Revision to move the node back to when it fails: it was Ready at it, and its objects are still there. */
  readonly fallback: string | undefined;
  /** Another KataDeployment that has the node. */
  readonly owner: string | undefined;
}

interface Failure {
  readonly error: NonNullable<KataNodeStatus['error']>;
  readonly since: string;
}

type Joined = Omit<Member, 'state' | 'retry' | 'working'>;

interface MemberInput extends Joined {
  readonly target: string;
}

export function memberOf({ target, ...input }: MemberInput, nowMs: number): Member {
  const settled = {
    ...input,
    state: stateOf(input, target),
    working: input.owner === undefined && isWorking(input),
  };
  const letBe = input.node.skip && settled.state !== 'removing';
  return { ...settled, retry: letBe ? undefined : retryOf(settled, nowMs) };
}

function stateOf(
  { node, kataNode, status, hindrance, owner }: Joined,
  target: string,
): MemberState {
  if (owner !== undefined) return 'conflict';
  if (kataNode?.spec.revision === REMOVE) return 'removing';
  if (kataNode?.spec.revision !== target) {
    if (hindrance !== undefined) return 'skipped';
    return kataNode?.spec.returnedFrom?.revision === target ? 'returned' : 'waiting';
  }
  if (status === undefined || isUnderWay(kataNode.spec, status)) return 'inProgress';
  // Whom a person has taken out of the rollout holds it up neither by a failure nor by being away.
  if (status.phase === 'Ready') return node.skip && !node.ready ? 'skipped' : 'current';
  if (FAILED.includes(status.phase)) return node.skip ? 'skipped' : 'failed';
  if (status.phase === 'AwaitingRestart') return 'awaitingRestart';
  // The node was rebooted since: its firmware settings may be others now.
  if (
    status.phase === 'Unsupported' &&
    status.bootId !== undefined &&
    status.bootId !== node.bootId
  )
    return 'waiting';
  return 'unsupported';
}

/** A Pod that waits for its image or a mount does nothing. */
function isWorking({ kataNode, status, pod }: Joined): boolean {
  if (kataNode === undefined || pod === undefined || pod.waiting !== undefined) return false;
  return status === undefined || isUnderWay(kataNode.spec, status);
}

/** Whether what the node was given last has not come to an end yet. */
export function isUnderWay(spec: KataNodeSpec, status: KataNodeStatus): boolean {
  return (
    status.revision !== spec.revision || !ENDED.includes(status.phase) || isRenewed(spec, status)
  );
}

/** What went wrong on the node at the target revision, also after it was given the one before again. */
export function failureOf({ state, status, kataNode }: Member): Failure | undefined {
  const returned = state === 'returned' ? kataNode?.spec.returnedFrom : undefined;
  const error = returned?.error ?? status?.error;
  if (error === undefined) return undefined;
  return { error, since: returned?.since ?? status?.since ?? '' };
}
