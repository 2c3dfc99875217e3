/**
 * Which revisions must exist and which may go. A revision exists while it is the target or a node has it:
 * deleting the DaemonSet of a revision that a node still has would take the Pod that reports from there.
 */
import type { KataDeploymentSpec } from '../../crds/kataDeployment.ts';
import { LABEL, parseClaim, REMOVE } from '../../crds/names.ts';
import type { OwnedView } from '../cache/views.ts';
import type { Membership } from '../deployment/members.ts';
import type { Observed } from '../deployment/observed.ts';
import type { Write } from '../writes.ts';
import { revisionObjects } from './objects.ts';
import { contentOf, daemonSetContent } from './served.ts';
import { removeRevision, type Revision } from './plan.ts';

/** The target, when there is one, and `remove` while a node leaves. */
export function ensureRevisions(
  o: Observed,
  spec: KataDeploymentSpec,
  target: Revision | undefined,
  members: Membership,
): Write[] {
  const wanted: Revision[] = [];
  if (target !== undefined) wanted.push(target);
  if (members.leaving.length > 0) wanted.push(removeRevision(o.deployment.name, spec));
  return wanted.flatMap((revision) => missingObjects(o, spec, revision));
}

function missingObjects(o: Observed, spec: KataDeploymentSpec, revision: Revision): Write[] {
  return revisionObjects(o.deployment, spec, revision, o.settings)
    .filter((object) => {
      const there = existing(o, object.kind).find((view) => view.name === object.metadata.name);
      if (there === undefined) return true;
      return (
        object.kind === 'DaemonSet' &&
        contentOf(there).template !== daemonSetContent(object).template
      );
    })
    .map((object): Write => ({ verb: 'apply', manager: 'spec', object }));
}

function existing(o: Observed, kind: string): readonly OwnedView[] {
  return kind === 'ConfigMap' ? o.configMaps : o.daemonSets;
}

export function collectRevisions(
  o: Observed,
  target: string | undefined,
  members: Membership,
): Write[] {
  const needed = new Set<string>();
  if (target !== undefined) needed.add(target);
  if (members.leaving.length > 0) needed.add(REMOVE);
  for (const { kataNode, node, status, state } of [...members.pool, ...members.leaving]) {
    // Until a node is well at the target it may have to go back.
    if (state !== 'current' && target !== undefined && status?.previousRevision !== undefined)
      needed.add(status.previousRevision);
    if (kataNode?.spec.revision !== undefined) needed.add(kataNode.spec.revision);
    const claim = parseClaim(node.labels[LABEL.claim] ?? '');
    if (claim?.deployment === o.deployment.name) needed.add(claim.revision);
  }
  return [...stale(o, 'DaemonSet', needed), ...stale(o, 'ConfigMap', needed)];
}

function stale(o: Observed, kind: 'DaemonSet' | 'ConfigMap', needed: ReadonlySet<string>): Write[] {
  return existing(o, kind)
    .filter((view) => !view.deleting)
    .filter((view) => !needed.has(parseClaim(view.labels[LABEL.claim] ?? '')?.revision ?? ''))
    .map((view) => ({
      verb: 'delete',
      kind,
      name: view.name,
      namespace: o.settings.namespace,
      uid: view.uid,
    }));
}
