/**
 * Events as values: pure constructors, one per thing that people want to be told.
 * The recorder removes duplicates by (object, reason, note).
 */
import { API_VERSION } from '../crds/names.ts';

export interface EventDraft {
  readonly regarding: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly name: string;
    readonly uid?: string;
  };
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly action: string;
  readonly note: string;
}

interface Subject {
  readonly name: string;
  readonly uid: string;
}

const NOTE_MAX_CHARS = 1000;

function event(
  kind: 'KataDeployment',
  subject: Subject,
  type: EventDraft['type'],
  reason: string,
  action: string,
  note: string,
): EventDraft {
  const regarding = {
    apiVersion: API_VERSION,
    kind,
    name: subject.name,
    ...(subject.uid === '' ? {} : { uid: subject.uid }),
  };
  return { regarding, type, reason, action, note: note.slice(0, NOTE_MAX_CHARS) };
}

export const nodeReady = (
  deployment: Subject,
  node: string,
  handlers: readonly string[],
): EventDraft =>
  event(
    'KataDeployment',
    deployment,
    'Normal',
    'NodeReady',
    'Verify',
    `${node} serves ${handlers.join(', ')}`,
  );

export const nodeUnsupported = (
  deployment: Subject,
  node: string,
  reason: string,
  message: string,
): EventDraft =>
  event(
    'KataDeployment',
    deployment,
    'Normal',
    reason,
    'Preflight',
    `${node} was not touched: ${message}`,
  );

export const nodeFailed = (
  deployment: Subject,
  node: string,
  step: string,
  reason: string,
  message: string,
): EventDraft =>
  event('KataDeployment', deployment, 'Warning', reason, step, `${node}: ${message}`);

export const nodeReleased = (deployment: Subject, node: string): EventDraft =>
  event(
    'KataDeployment',
    deployment,
    'Normal',
    'NodeReleased',
    'Remove',
    `${node} is as it was before`,
  );

export const available = (deployment: Subject, message: string): EventDraft =>
  event('KataDeployment', deployment, 'Normal', 'Available', 'Rollout', message);

export const degraded = (deployment: Subject, reason: string, message: string): EventDraft =>
  event('KataDeployment', deployment, 'Warning', reason, 'Rollout', message);
