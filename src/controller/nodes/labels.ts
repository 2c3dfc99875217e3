/**
 * The labels of ours that a node should carry now: all of them in one server-side apply, so that
 * whatever is no longer named here disappears with the same write.
 */
import { claimValue, handlerLabel, HANDLER_LABEL_PREFIX, LABEL } from '../../crds/names.ts';
import type { KataNodeStatus } from '../../crds/kataNode.ts';

const OURS = new Set<string>([LABEL.claim, LABEL.revision, LABEL.kvm]);
const ADVERTISED = 'true';

export interface LabelInput {
  readonly deployment: string;
  /** Revision that the node is given; undefined when it is let go. */
  readonly claimed: string | undefined;
  readonly status: KataNodeStatus | undefined;
  /** False while the node is being taken out: no new sandbox may land there. */
  readonly advertise: boolean;
}

export function nodeLabels({
  deployment,
  claimed,
  status,
  advertise,
}: LabelInput): Record<string, string> {
  const labels: Record<string, string> = {};
  if (claimed !== undefined) labels[LABEL.claim] = claimValue(deployment, claimed);
  if (status?.kvm !== undefined) labels[LABEL.kvm] = String(status.kvm.usable);
  const lostKVM = status?.phase === 'Unsupported' && status.kvm?.usable === false;
  const handlers = advertise && !lostKVM ? (status?.handlers ?? []) : [];
  if (handlers.length === 0) return labels;
  labels[LABEL.kataRuntime] = ADVERTISED;
  const verified = status?.phase === 'Ready' ? status.revision : status?.previousRevision;
  if (verified !== undefined) labels[LABEL.revision] = verified;
  for (const handler of handlers) labels[handlerLabel(handler)] = 'true';
  return labels;
}

/**
 * The labels of ours that a node carries. `katacontainers.io/kata-runtime` is set by other installers too: it
 * counts as ours only beside handler labels, with which we always write and withdraw it together.
 */
export function ownLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  const shared = isAdvertised(labels) && labels[LABEL.kataRuntime] === ADVERTISED;
  return Object.fromEntries(
    Object.entries(labels).filter(
      ([key]) =>
        OURS.has(key) ||
        key.startsWith(HANDLER_LABEL_PREFIX) ||
        (shared && key === LABEL.kataRuntime),
    ),
  );
}

/** Whether new sandboxes may be scheduled to the node. */
export function isAdvertised(labels: Readonly<Record<string, string>>): boolean {
  return Object.keys(labels).some((key) => key.startsWith(HANDLER_LABEL_PREFIX));
}

/** What is wanted, without the label that somebody else has given another value: it is never fought over. */
export function withoutForeign(
  wanted: Readonly<Record<string, string>>,
  present: Readonly<Record<string, string>>,
): Record<string, string> {
  const theirs = present[LABEL.kataRuntime] ?? ADVERTISED;
  return Object.fromEntries(
    Object.entries(wanted).filter(([key]) => key !== LABEL.kataRuntime || theirs === ADVERTISED),
  );
}

export function sameLabels(
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}
