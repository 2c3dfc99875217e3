/**
 * The writes that a decision may ask for, as data: decide returns them, act performs them in order.
 * Only what is needed to reach the wanted state is ever in the list: no change, no write.
 */
import type { EventDraft } from '../kube/events.ts';

/** Kinds of objects that the controller writes; act maps them to resources. */
export type WrittenKind =
  'KataDeployment' | 'KataNode' | 'Node' | 'Pod' | 'ConfigMap' | 'DaemonSet' | 'RuntimeClass';

export interface ManifestMeta {
  readonly name: string;
  readonly namespace?: string;
  /** With it an apply never creates again what has vanished. */
  readonly uid?: string;
  readonly [key: string]: unknown;
}

/** A whole object, as it goes over the wire. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: WrittenKind;
  readonly metadata: ManifestMeta;
  readonly [key: string]: unknown;
}

/** One per concern. */
export type Manager = 'spec' | 'status' | 'labels' | 'finalizers' | 'taints' | 'nudge';

/** The name by which the API server keeps in mind who gave which field. */
export function fieldManager(manager: Manager): string {
  return `kata-operator/${manager}`;
}

export type Write =
  | {
      readonly verb: 'apply';
      readonly object: Manifest;
      /** One field manager per concern: each owns its fields and drops what it no longer names. */
      readonly manager: Manager;
      readonly subresource?: 'status';
      /** resourceVersion in the cache when this was decided: the next decision waits for a newer one. */
      readonly seen?: string;
    }
  | {
      /**
       * Puts a list of finalizers in place of the one that was seen, of this very version of the object. An apply
       * removes only what the same manager gave: of an object made from an export, that is somebody else.
       */
      readonly verb: 'finalizers';
      readonly kind: WrittenKind;
      readonly name: string;
      readonly uid: string;
      /** resourceVersion in the cache when this was decided. */
      readonly seen: string;
      readonly finalizers: readonly string[];
    }
  | {
      /** Takes one taint off a node. An apply cannot: the list of taints is one value, whoever wrote what in it. */
      readonly verb: 'untaint';
      readonly kind: 'Node';
      readonly name: string;
      readonly uid: string;
      /** resourceVersion in the cache when this was decided. */
      readonly seen: string;
      /** Position in spec.taints as it was seen: it must be the same taint still. */
      readonly index: number;
      readonly key: string;
      readonly effect: string;
    }
  | {
      readonly verb: 'delete';
      readonly kind: WrittenKind;
      readonly name: string;
      readonly namespace?: string;
      readonly uid: string;
    }
  | { readonly verb: 'event'; readonly event: EventDraft };

/** What a decision asks for. */
export interface Decision {
  readonly writes: readonly Write[];
  /** When to look again although nothing has changed, in milliseconds from now. */
  readonly wakeAfterMs: number | undefined;
}
