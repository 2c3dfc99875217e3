/**
 * Everything that the controller watches, one reflector per kind. Owns which objects are watched and
 * how an event becomes the name of a KataDeployment to look at. It must never cache Pods of users.
 */
import { isDeepStrictEqual } from 'node:util';
import { LABEL, MANAGED_BY } from '../../crds/names.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Logger } from '../../kube/log.ts';
import { Reflector } from '../../kube/reflector.ts';
import {
  CONFIG_MAPS,
  DAEMON_SETS,
  NODES,
  PODS,
  RUNTIME_CLASSES,
  type KubeObject,
  type Resource,
} from '../../kube/resource.ts';
import type { Change } from '../../kube/store.ts';
import { daemonSetContent } from '../revision/served.ts';
import { runtimeClassContent } from '../runtimeclass/desired.ts';
import { KATA_DEPLOYMENTS, KATA_NODES } from '../resources.ts';
import { nodePodView, type NodePodView } from './nodePod.ts';
import {
  kataDeploymentView,
  kataNodeView,
  nodeView,
  ownedView,
  type KataDeploymentView,
  type KataNodeView,
  type NodeView,
  type OwnedView,
} from './views.ts';

export interface CacheOptions {
  readonly client: KubeClient;
  readonly nodeNamespace: string;
  readonly log: Logger;
  /** A KataDeployment should be looked at. */
  readonly touched: (deployment: string) => void;
}

/** Says which KataDeployments to look at after a change. */
type Notice<T> = (change: Change<T>) => void;

const OURS = `${LABEL.managedBy}=${MANAGED_BY}`;

export class Cache {
  readonly deployments: Reflector<KataDeploymentView>;
  readonly kataNodes: Reflector<KataNodeView>;
  readonly nodes: Reflector<NodeView>;
  readonly pods: Reflector<NodePodView>;
  readonly configMaps: Reflector<OwnedView>;
  readonly daemonSets: Reflector<OwnedView>;
  readonly runtimeClasses: Reflector<OwnedView>;

  constructor(options: CacheOptions) {
    const { touched, nodeNamespace: namespace } = options;
    const ours = { namespace, labelSelector: OURS };
    const { client, log } = options;
    const watch = <T>(
      resource: Resource,
      transform: (raw: KubeObject) => T,
      notice: Notice<T>,
      scope: { namespace?: string; labelSelector?: string } = {},
    ): Reflector<T> =>
      new Reflector({ client, log, resource, transform, onChange: notice, ...scope });
    const owned: Notice<OwnedView> = ({ before, after }) => {
      const deployment = (after ?? before)?.labels[LABEL.deployment];
      if (deployment !== undefined) touched(deployment);
    };

    this.deployments = watch(KATA_DEPLOYMENTS, kataDeploymentView, ({ key }) => {
      touched(key);
    });
    this.kataNodes = watch(KATA_NODES, kataNodeView, ({ before, after }) => {
      for (const view of [before, after]) if (view !== undefined) touched(view.spec.deployment);
    });
    this.nodes = watch(NODES, nodeView, ({ before, after }) => {
      // kubelet reports every few minutes; only what decisions look at counts.
      if (isDeepStrictEqual(withoutVersion(before), withoutVersion(after))) return;
      for (const { name } of this.deployments.list()) touched(name);
    });
    const pod: Notice<NodePodView> = ({ before, after }) => {
      const deployment = (after ?? before)?.deployment ?? '';
      if (deployment !== '') touched(deployment);
    };
    this.pods = watch(PODS, nodePodView, pod, ours);
    this.configMaps = watch(CONFIG_MAPS, ownedView(), owned, ours);
    this.daemonSets = watch(DAEMON_SETS, ownedView(daemonSetContent), owned, ours);
    // All of them: a class of the same name that is not ours must be seen.
    this.runtimeClasses = watch(RUNTIME_CLASSES, ownedView(runtimeClassContent), owned);
  }

  /** Runs until the signal; rejects when a reflector gives up, which none does by itself. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#all().map((reflector) => reflector.run(signal)));
  }

  /** Resolves when no kind is known to be older than so much before this call; lists those that are. */
  async fresh(maxAgeMs: number, signal: AbortSignal): Promise<void> {
    await Promise.all(this.#all().map((reflector) => reflector.fresh(maxAgeMs, signal)));
  }

  isSynced(): boolean {
    return this.#all().every((reflector) => reflector.isSynced);
  }

  /** Age of the last event or bookmark, per kind, in milliseconds. */
  eventAgesMs(): Record<string, number> {
    return {
      KataDeployment: this.deployments.lastEventAgeMs(),
      KataNode: this.kataNodes.lastEventAgeMs(),
      Node: this.nodes.lastEventAgeMs(),
      Pod: this.pods.lastEventAgeMs(),
    };
  }

  #all(): Pick<Reflector<unknown>, 'run' | 'fresh' | 'isSynced'>[] {
    return [
      this.deployments,
      this.kataNodes,
      this.nodes,
      this.pods,
      this.configMaps,
      this.daemonSets,
      this.runtimeClasses,
    ];
  }
}

function withoutVersion(view: { readonly resourceVersion: string } | undefined): unknown {
  return view === undefined ? undefined : { ...view, resourceVersion: '' };
}
