/**
 * One node of a KataDeployment: the Node, its KataNode and its Pod, joined, with what follows from them.
 */
import type { KataNodeStatus } from '../../crds/kataNode.ts';
import { LABEL, parseClaim, REMOVE } from '../../crds/names.ts';
import type { NodePodView } from '../cache/nodePod.ts';
import type { KataNodeView, NodeView } from '../cache/views.ts';
import { ENDED, FAILED, isRenewed } from './assess.ts';

/**
 * - `waiting`: must be given the target revision
 * - `inProgress`: has it, and no result yet
 * - `current`: verified at it
 * - `failed`, `unsupported`, `awaitingRestart`: ended otherwise at it
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
  | 'conflict'
  | 'removing';

export interface Member {
  readonly node: NodeView;
  readonly kataNode: KataNodeView | undefined;
  readonly pod: NodePodView | undefined;
  readonly status: KataNodeStatus | undefined;
  readonly state: MemberState;
}

interface MemberInput {
  readonly node: NodeView;
  readonly kataNode: KataNodeView | undefined;
  readonly pod: NodePodView | undefined;
  readonly status: KataNodeStatus | undefined;
  readonly deployment: string;
  readonly target: string;
}

export function memberOf(input: MemberInput): Member {
  const { node, kataNode, pod, status } = input;
  return { node, kataNode, pod, status, state: stateOf(input) };
}

function stateOf({ node, kataNode, status, deployment, target }: MemberInput): MemberState {
  const claim = parseClaim(node.labels[LABEL.claim] ?? '');
  if (claim !== undefined && claim.deployment !== deployment) return 'conflict';
  if (kataNode !== undefined && kataNode.spec.deployment !== deployment) return 'conflict';
  if (kataNode?.spec.revision === REMOVE) return 'removing';
  if (kataNode?.spec.revision !== target) return 'waiting';
  if (status === undefined || status.revision !== target || !ENDED.includes(status.phase))
    return 'inProgress';
  if (status.phase === 'Ready') return 'current';
  if (isRenewed(kataNode.spec, status)) return 'inProgress';
  if (FAILED.includes(status.phase)) return 'failed';
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
