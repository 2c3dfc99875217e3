/**
 * Events as values: pure constructors, one per thing that people want to be told. What happens to one node
 * regards its KataNode, so that kubectl describe shows it there and a big fleet does not drown what regards the
 * whole. The recorder removes duplicates by (object, reason, note).
 */
import { API_VERSION } from '../crds/names.ts';
import type { EventDraft } from '../kube/events.ts';

interface Subject {
  readonly name: string;
  readonly uid: string;
}

const NOTE_MAX_CHARS = 1000;

function event(
  kind: 'KataDeployment' | 'KataNode',
  subject: Subject,
  what: Pick<EventDraft, 'type' | 'reason' | 'action' | 'note'>,
): EventDraft {
  const regarding = {
    apiVersion: API_VERSION,
    kind,
    name: subject.name,
    ...(subject.uid === '' ? {} : { uid: subject.uid }),
  };
  return { regarding, ...what, note: what.note.slice(0, NOTE_MAX_CHARS) };
}

export const nodeReady = (kataNode: Subject, handlers: readonly string[]): EventDraft =>
  event('KataNode', kataNode, {
    type: 'Normal',
    reason: 'NodeReady',
    action: 'Verify',
    note: `${kataNode.name} serves ${handlers.join(', ')}`,
  });

export const nodeUnsupported = (kataNode: Subject, reason: string, message: string): EventDraft =>
  event('KataNode', kataNode, {
    type: 'Normal',
    reason,
    action: 'Preflight',
    note: `${kataNode.name} cannot run Kata: ${message}`,
  });

export const nodeFailed = (
  kataNode: Subject,
  step: string,
  reason: string,
  message: string,
): EventDraft =>
  event('KataNode', kataNode, {
    type: 'Warning',
    reason,
    action: step,
    note: `${kataNode.name}: ${message}`,
  });

/** Regards the KataDeployment: the KataNode goes with the release, and nobody could find it there. */
export const nodeReleased = (deployment: Subject, node: string): EventDraft =>
  event('KataDeployment', deployment, {
    type: 'Normal',
    reason: 'NodeReleased',
    action: 'Remove',
    note: `${node} is as it was before`,
  });

export const available = (deployment: Subject, message: string): EventDraft =>
  event('KataDeployment', deployment, {
    type: 'Normal',
    reason: 'Available',
    action: 'Rollout',
    note: message,
  });

export const degraded = (deployment: Subject, reason: string, message: string): EventDraft =>
  event('KataDeployment', deployment, {
    type: 'Warning',
    reason,
    action: 'Rollout',
    note: message,
  });
