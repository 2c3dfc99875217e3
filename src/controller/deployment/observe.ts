/**
 * Reads everything about one KataDeployment into one value: from the cache, and, only while something is
 * being taken away, the Pods that use our classes from the API.
 */
import { parseKataDeploymentSpec } from '../../crds/parse.ts';
import { LABEL, MANAGED_BY } from '../../crds/names.ts';
import { DEFAULT_RUNTIMES } from '../../kata/catalogue.ts';
import { KataError } from '../../errors.ts';
import type { KubeClient } from '../../kube/client.ts';
import { PODS, type KubeObject } from '../../kube/resource.ts';
import type { Cache } from '../cache/cache.ts';
import type { NodePodView } from '../cache/nodePod.ts';
import type { KataDeploymentView, OwnedView } from '../cache/views.ts';
import { isSelected } from '../nodes/selection.ts';
import type { NodePodSettings } from '../revision/objects.ts';
import { handlerOf } from '../revision/plan.ts';
import { DEFAULT_HANDLER } from '../runtimeclass/desired.ts';
import type { Observed, ParsedSpec, SandboxUsage } from './observed.ts';

export interface ObserveDeps {
  readonly cache: Cache;
  readonly client: KubeClient;
  readonly settings: NodePodSettings;
}

/** Undefined when there is no such KataDeployment. */
export async function observe(
  deps: ObserveDeps,
  name: string,
  signal: AbortSignal,
): Promise<Observed | undefined> {
  const { cache, settings } = deps;
  const deployment = cache.deployments.get(name);
  if (deployment === undefined) return undefined;
  const mine = (view: OwnedView): boolean => view.labels[LABEL.deployment] === name;
  const allClasses = cache.runtimeClasses.list();
  const isOurs = (view: OwnedView): boolean =>
    mine(view) && view.labels[LABEL.managedBy] === MANAGED_BY;
  const observed: Observed = {
    deployment,
    parsed: parseSpec(deployment),
    nodes: cache.nodes.list(),
    kataNodes: new Map(cache.kataNodes.list().map((view) => [view.name, view])),
    pods: podsByNode(cache.pods.list(), name),
    configMaps: cache.configMaps.list().filter(mine),
    daemonSets: cache.daemonSets.list().filter(mine),
    runtimeClasses: allClasses.filter(isOurs),
    foreignClasses: new Set(allClasses.filter((view) => !isOurs(view)).map((view) => view.name)),
    usage: undefined,
    settings,
  };
  return Object.freeze(
    takesAway(observed)
      ? { ...observed, usage: await sandboxUsage(deps, observed, signal) }
      : observed,
  );
}

function parseSpec(deployment: KataDeploymentView): ParsedSpec {
  try {
    return { ok: true, spec: parseKataDeploymentSpec(deployment.spec ?? {}) };
  } catch (error) {
    if (error instanceof KataError) return { ok: false, error };
    throw error;
  }
}

function podsByNode(pods: readonly NodePodView[], deployment: string): Map<string, NodePodView[]> {
  const byNode = new Map<string, NodePodView[]>();
  for (const pod of pods) {
    if (pod.deployment !== deployment || pod.nodeName === '') continue;
    const there = byNode.get(pod.nodeName);
    if (there === undefined) byNode.set(pod.nodeName, [pod]);
    else there.push(pod);
  }
  return byNode;
}

/** Whether something may have to go: the whole, a node that left the selection, or a class. */
function takesAway(o: Observed): boolean {
  if (o.deployment.deleting) return true;
  if (!o.parsed.ok) return false;
  const { spec } = o.parsed;
  const names = spec.runtimes?.map((runtime) => runtime.name) ?? DEFAULT_RUNTIMES;
  const handlers = new Set(names.map(handlerOf));
  if (spec.defaultRuntime !== undefined) handlers.add(DEFAULT_HANDLER);
  if (o.runtimeClasses.some((view) => !handlers.has(view.name))) return true;
  return o.nodes.some(
    (node) =>
      o.kataNodes.get(node.name)?.spec.deployment === o.deployment.name &&
      !isSelected(node, spec.nodes),
  );
}

/** Pods that have not ended and name one of our classes. One paged list, trimmed at once. */
async function sandboxUsage(
  { client }: ObserveDeps,
  o: Observed,
  signal: AbortSignal,
): Promise<SandboxUsage> {
  const classes = new Set(o.runtimeClasses.map((view) => view.name));
  const byNode = new Map<string, string[]>();
  const byClass = new Map<string, string[]>();
  const { items } = await client.list(
    PODS,
    { fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed' },
    signal,
  );
  for (const pod of items) {
    const { runtimeClassName, nodeName } = podSpecOf(pod);
    if (runtimeClassName === undefined || !classes.has(runtimeClassName)) continue;
    const name = `${pod.metadata.namespace ?? ''}/${pod.metadata.name}`;
    append(byClass, runtimeClassName, name);
    if (nodeName !== undefined) append(byNode, nodeName, name);
  }
  return { byNode, byClass };
}

function podSpecOf(pod: KubeObject): {
  runtimeClassName: string | undefined;
  nodeName: string | undefined;
} {
  const spec = pod['spec'];
  const text = (key: string): string | undefined => {
    const value: unknown =
      typeof spec === 'object' && spec !== null && key in spec ? Reflect.get(spec, key) : undefined;
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  return { runtimeClassName: text('runtimeClassName'), nodeName: text('nodeName') };
}

function append(map: Map<string, string[]>, key: string, value: string): void {
  const there = map.get(key);
  if (there === undefined) map.set(key, [value]);
  else there.push(value);
}
