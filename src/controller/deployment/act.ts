/**
 * Performs the writes of a decision, in order. A write that fails stops what follows for the same object
 * only: one bad node must not hold up the others, and the status is always written.
 */
import type { KubeClient } from '../../kube/client.ts';
import { conflictingFields } from '../../kube/errors.ts';
import type { EventRecorder } from '../../kube/events.ts';
import type { Logger } from '../../kube/log.ts';
import {
  CONFIG_MAPS,
  DAEMON_SETS,
  NODES,
  PODS,
  RUNTIME_CLASSES,
  type KubeObject,
  type Resource,
} from '../../kube/resource.ts';
import { LABEL } from '../../crds/names.ts';
import { causeOf } from '../../errors.ts';
import type { Expectations } from '../expectations.ts';
import { KATA_DEPLOYMENTS, KATA_NODES } from '../resources.ts';
import { fieldManager, type Manifest, type Write, type WrittenKind } from '../writes.ts';

export interface ActDeps {
  readonly client: KubeClient;
  readonly recorder: EventRecorder;
  readonly expectations: Expectations;
  readonly nodeNamespace: string;
  readonly log: Logger;
}

const RESOURCES: Readonly<Record<WrittenKind, Resource>> = {
  KataDeployment: KATA_DEPLOYMENTS,
  KataNode: KATA_NODES,
  Node: NODES,
  Pod: PODS,
  ConfigMap: CONFIG_MAPS,
  DaemonSet: DAEMON_SETS,
  RuntimeClass: RUNTIME_CLASSES,
};

/** Throws the first error after everything was tried. */
export async function act(
  deps: ActDeps,
  writes: readonly Write[],
  signal: AbortSignal,
): Promise<void> {
  const failed = new Set<string>();
  let firstError: unknown;
  for (const write of writes) {
    const subject = subjectOf(write);
    if (failed.has(subject)) continue;
    try {
      await perform(deps, write, signal);
    } catch (error) {
      failed.add(subject);
      firstError ??= error;
      deps.log.warn({ write: subject, verb: write.verb, cause: causeOf(error) }, 'a write failed');
      if (signal.aborted) break;
    }
  }
  if (firstError !== undefined)
    throw firstError instanceof Error ? firstError : new Error(causeOf(firstError));
}

/** Writes about one node hang together: a claim must not be written when its KataNode could not be. */
function subjectOf(write: Write): string {
  if (write.verb === 'event') return `Event/${write.event.reason}`;
  const { kind, name } =
    write.verb === 'apply' ? { kind: write.object.kind, name: write.object.metadata.name } : write;
  return kind === 'Node' || kind === 'KataNode' ? `node/${name}` : `${kind}/${name}`;
}

async function perform(deps: ActDeps, write: Write, signal: AbortSignal): Promise<void> {
  switch (write.verb) {
    case 'event':
      await deps.recorder.emit(write.event, signal);
      return;
    case 'delete': {
      const resource = RESOURCES[write.kind];
      const namespace = resource.namespaced ? (write.namespace ?? deps.nodeNamespace) : undefined;
      await deps.client.delete(
        resource,
        { namespace, name: write.name },
        { uid: write.uid },
        signal,
      );
      return;
    }
    case 'finalizers':
    case 'untaint': {
      const { kind, name, seen } = write;
      const written =
        write.verb === 'untaint'
          ? await untaint(deps, write, signal)
          : await putFinalizers(deps, write, signal);
      deps.expectations.wrote(kind, name, seen, written.metadata.resourceVersion);
      return;
    }
    case 'apply': {
      const written = await apply(deps, write, signal);
      deps.expectations.wrote(
        write.object.kind,
        write.object.metadata.name,
        write.seen,
        written.metadata.resourceVersion,
      );
    }
  }
}

/** Fails when the object is not the one that was seen: then it is looked at again. */
async function putFinalizers(
  { client }: ActDeps,
  { kind, name, uid, seen, finalizers }: Extract<Write, { verb: 'finalizers' }>,
  signal: AbortSignal,
): Promise<KubeObject> {
  return await client.jsonPatch(
    RESOURCES[kind],
    { name },
    [
      { op: 'test', path: '/metadata/uid', value: uid },
      { op: 'test', path: '/metadata/resourceVersion', value: seen },
      { op: 'add', path: '/metadata/finalizers', value: finalizers },
    ],
    { fieldManager: fieldManager('finalizers') },
    signal,
  );
}

/** Fails when the taint is no longer where it was seen: then the node is looked at again. */
async function untaint(
  { client }: ActDeps,
  { name, uid, index, key, effect }: Extract<Write, { verb: 'untaint' }>,
  signal: AbortSignal,
): Promise<KubeObject> {
  const path = `/spec/taints/${String(index)}`;
  return await client.jsonPatch(
    NODES,
    { name },
    [
      { op: 'test', path: '/metadata/uid', value: uid },
      { op: 'test', path: `${path}/key`, value: key },
      { op: 'test', path: `${path}/effect`, value: effect },
      { op: 'remove', path },
    ],
    { fieldManager: fieldManager('taints') },
    signal,
  );
}

async function apply(
  deps: ActDeps,
  write: Extract<Write, { verb: 'apply' }>,
  signal: AbortSignal,
): Promise<KubeObject> {
  const { object, manager, subresource } = write;
  const send = (body: Manifest, force: boolean): Promise<KubeObject> =>
    deps.client.apply(
      RESOURCES[object.kind],
      wireForm(body),
      { fieldManager: fieldManager(manager), force, subresource },
      signal,
    );
  if (manager !== 'labels') return send(object, true);
  try {
    return await send(object, false);
  } catch (error) {
    const theirs = conflictingFields(error);
    if (theirs.length === 0) throw error;
    const isShared = theirs.includes(`.metadata.labels.${LABEL.kataRuntime}`);
    return await send(isShared ? withoutSharedLabel(object, deps.log) : object, true);
  }
}

/**
 * The labels under our own prefix are ours to take back; `katacontainers.io/kata-runtime` belongs also to
 * other installers and is never fought over.
 */
function withoutSharedLabel(object: Manifest, log: Logger): Manifest {
  log.warn(
    { node: object.metadata.name, label: LABEL.kataRuntime },
    'another manager owns the label; it is left alone',
  );
  const labels = Object.entries(object.metadata['labels'] ?? {}).filter(
    ([key]) => key !== LABEL.kataRuntime,
  );
  return { ...object, metadata: { ...object.metadata, labels: Object.fromEntries(labels) } };
}

/** A fresh mutable copy for the kube layer: what was decided stays frozen. */
function wireForm(object: Manifest): KubeObject {
  const { apiVersion, kind, metadata, ...rest } = structuredClone(object);
  return { ...rest, apiVersion, kind, metadata: { ...metadata } };
}
