/**
 * Whether a revision can be given to a node yet. The DaemonSet controller looks at a node once, when its labels
 * change, and must then see that a Pod is missing. It does not (seen with Kubernetes 1.36)
 * - when it does not know the DaemonSet yet: so its status must say that it was observed;
 * - when a Pod of a DaemonSet of the same name is still ending there: it takes that one for the Pod.
 * Nothing would bring the node up again. What slips through all the same is nudged.
 */
import { z } from 'zod';
import { ANNOTATION_NUDGE, ANNOTATION_TEMPLATE } from '../../crds/names.ts';
import type { KubeObject } from '../../kube/resource.ts';
import type { Observed } from '../deployment/observed.ts';
import { timeMs, type OwnedView } from '../cache/views.ts';
import type { Membership } from '../deployment/members.ts';
import type { Member } from '../nodes/member.ts';
import type { Write } from '../writes.ts';
import { revisionObjectName } from './objects.ts';

/** For the cache: all that is remembered of a DaemonSet beside its name and labels. */
const daemonSetContentSchema = z.object({
  observed: z.boolean(),
  template: z.string().optional(),
  nudge: z.string().optional(),
});
export type DaemonSetContent = z.infer<typeof daemonSetContentSchema>;

export function daemonSetContent(raw: KubeObject): DaemonSetContent {
  const status = raw['status'];
  const { annotations } = raw.metadata;
  const template = annotations?.[ANNOTATION_TEMPLATE];
  const nudge = annotations?.[ANNOTATION_NUDGE];
  return {
    observed:
      typeof status === 'object' &&
      status !== null &&
      Reflect.get(status, 'observedGeneration') !== undefined,
    ...(template === undefined ? {} : { template }),
    ...(nudge === undefined ? {} : { nudge }),
  };
}

export function contentOf(view: OwnedView): DaemonSetContent {
  const parsed = daemonSetContentSchema.safeParse(view.content);
  return parsed.success ? parsed.data : { observed: false };
}

/** Whether nodes can be given the revision at all: its DaemonSet is there and stays. */
export function revisionExists(o: Observed, revision: string): boolean {
  const name = revisionObjectName(o.deployment.name, revision);
  return o.daemonSets.some((view) => view.name === name && !view.deleting);
}

export function isServed(o: Observed, revision: string, node: string): boolean {
  const name = revisionObjectName(o.deployment.name, revision);
  const isKnown = o.daemonSets.some(
    (view) => view.name === name && !view.deleting && contentOf(view).observed,
  );
  return (
    isKnown && !(o.pods.get(node) ?? []).some((pod) => pod.revision === revision && pod.deleting)
  );
}

/** A claim that has brought no Pod for so long was missed. */
const MISSED_MS = 20_000;

/** Touches the DaemonSets of nodes that have been waiting for their Pod for too long. */
export function nudges(o: Observed, { pool, leaving }: Membership, nowMs: number): Write[] {
  const missed = [...pool, ...leaving].filter((member) => isMissed(o, member, nowMs));
  const names = new Set(
    missed.map(({ kataNode }) =>
      revisionObjectName(o.deployment.name, kataNode?.spec.revision ?? ''),
    ),
  );
  const nudge = String(Math.floor(nowMs / MISSED_MS));
  const annotations = { [ANNOTATION_NUDGE]: nudge };
  const { namespace } = o.settings;
  return o.daemonSets
    .filter(({ name, deleting }) => names.has(name) && !deleting)
    .filter((view) => contentOf(view).nudge !== nudge)
    .map(({ name, uid }) => ({
      verb: 'apply',
      manager: 'nudge',
      object: {
        apiVersion: 'apps/v1',
        kind: 'DaemonSet',
        metadata: { name, namespace, uid, annotations },
      },
    }));
}

function isMissed(o: Observed, { node, kataNode, state }: Member, nowMs: number): boolean {
  if (state !== 'inProgress' && state !== 'removing') return false;
  if (!node.ready || (o.pods.get(node.name) ?? []).length > 0) return false;
  const claimedAtMs = timeMs(kataNode?.spec.claimedAt);
  return claimedAtMs !== undefined && nowMs - claimedAtMs > MISSED_MS;
}
