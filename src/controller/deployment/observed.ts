/**
 * Everything that a decision about one KataDeployment may look at, read at one moment.
 */
import type { KataDeploymentSpec } from '../../crds/kataDeployment.ts';
import type { KataError } from '../../errors.ts';
import type { NodePodView } from '../cache/nodePod.ts';
import type { KataDeploymentView, KataNodeView, NodeView, OwnedView } from '../cache/views.ts';
import type { NodePodSettings } from '../revision/objects.ts';

/**
 * Pods that use one of our RuntimeClasses and have not ended, as `namespace/name`. A node or class that was looked
 * up has an entry, if an empty one; one without has not been looked up, which is not the same as none.
 */
export interface SandboxUsage {
  readonly byNode: ReadonlyMap<string, readonly string[]>;
  readonly byClass: ReadonlyMap<string, readonly string[]>;
}

export type ParsedSpec =
  | { readonly ok: true; readonly spec: KataDeploymentSpec }
  | { readonly ok: false; readonly error: KataError };

/** The KataDeployment that made a RuntimeClass; undefined: somebody else did. */
export type ForeignOwner = string | undefined;

export interface Observed {
  readonly deployment: KataDeploymentView;
  readonly parsed: ParsedSpec;
  /** Names of all KataDeployments. */
  readonly deployments: ReadonlySet<string>;
  readonly nodes: readonly NodeView[];
  /** By node name; those of other KataDeployments too, to see conflicts. */
  readonly kataNodes: ReadonlyMap<string, KataNodeView>;
  /** Pods of this KataDeployment, by node name. */
  readonly pods: ReadonlyMap<string, readonly NodePodView[]>;
  readonly configMaps: readonly OwnedView[];
  readonly daemonSets: readonly OwnedView[];
  /** Of this KataDeployment. */
  readonly runtimeClasses: readonly OwnedView[];
  /** RuntimeClasses that somebody else owns, by name. */
  readonly foreignClasses: ReadonlyMap<string, ForeignOwner>;
  /** Holds only what is needed to go on with taking something away. */
  readonly usage: SandboxUsage;
  readonly settings: NodePodSettings;
}
