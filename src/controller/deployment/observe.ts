/**
 * Reads everything about one KataDeployment into one value: from the cache, and, only while something is
 * being taken away, the Pods that use our classes from the API.
 */
import { parseKataDeploymentSpec } from '../../crds/parse.ts';
import { LABEL, MANAGED_BY } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import type { Cache } from '../cache/cache.ts';
import type { NodePodView } from '../cache/nodePod.ts';
import type { KataDeploymentView, OwnedView } from '../cache/views.ts';
import type { NodePodSettings } from '../revision/objects.ts';
import type { Observed, ParsedSpec } from './observed.ts';
import { usageQuestion, type UsageLookup } from './usage.ts';

export interface ObserveDeps {
  readonly cache: Cache;
  readonly usage: UsageLookup;
  readonly settings: NodePodSettings;
}

/** Undefined when there is no such KataDeployment. */
export async function observe(
  deps: ObserveDeps,
  name: string,
  signal: AbortSignal,
): Promise<Observed | undefined> {
  const before = snapshot(deps, name);
  if (before === undefined) {
    deps.usage.forget(name);
    return undefined;
  }
  const ours = new Set(before.runtimeClasses.map((view) => view.name));
  const usage = await deps.usage.answer(name, usageQuestion(before), ours, signal);
  // Anew: to read all Pods of a big cluster takes seconds, and the decision is to be about now.
  const now = snapshot(deps, name);
  return now === undefined ? undefined : Object.freeze({ ...now, usage });
}

function snapshot(
  { cache, settings }: ObserveDeps,
  name: string,
): Omit<Observed, 'usage'> | undefined {
  const deployment = cache.deployments.get(name);
  if (deployment === undefined) return undefined;
  const mine = (view: OwnedView): boolean => view.labels[LABEL.deployment] === name;
  const allClasses = cache.runtimeClasses.list();
  const isOurs = (view: OwnedView): boolean =>
    mine(view) && view.labels[LABEL.managedBy] === MANAGED_BY;
  return {
    deployment,
    parsed: parseSpec(deployment),
    deployments: new Set(cache.deployments.list().map((view) => view.name)),
    nodes: cache.nodes.list(),
    kataNodes: new Map(cache.kataNodes.list().map((view) => [view.name, view])),
    pods: podsByNode(cache.pods.list(), name),
    configMaps: cache.configMaps.list().filter(mine),
    daemonSets: cache.daemonSets.list().filter(mine),
    runtimeClasses: allClasses.filter(isOurs),
    foreignClasses: new Map(
      allClasses.filter((view) => !isOurs(view)).map((view) => [view.name, makerOf(view)]),
    ),
    settings,
  };
}

function makerOf({ labels }: OwnedView): string | undefined {
  return labels[LABEL.managedBy] === MANAGED_BY ? labels[LABEL.deployment] : undefined;
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
