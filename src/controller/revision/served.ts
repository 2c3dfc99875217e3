/**
 * Whether a revision can be given to nodes yet: the DaemonSet controller must have seen its DaemonSet.
 *
 * A node that is claimed in the same instant in which the DaemonSet appears can be missed: the label's event is
 * looked at before the DaemonSet is known, and nothing brings it up again (seen with Kubernetes 1.36). So a claim
 * waits until the status of the DaemonSet says that its controller knows it.
 */
import type { KubeObject } from '../../kube/resource.ts';
import type { Observed } from '../deployment/observed.ts';
import { revisionObjectName } from './objects.ts';

const SERVED = 'served';

/** For the cache: all that is remembered of a DaemonSet beside its name. */
export function daemonSetContent(raw: KubeObject): unknown {
  const status = raw['status'];
  const isObserved =
    typeof status === 'object' &&
    status !== null &&
    Reflect.get(status, 'observedGeneration') !== undefined;
  return isObserved ? SERVED : undefined;
}

export function isServed(o: Observed, revision: string): boolean {
  const name = revisionObjectName(o.deployment.name, revision);
  return o.daemonSets.some(
    (view) => view.name === name && !view.deleting && view.content === SERVED,
  );
}
