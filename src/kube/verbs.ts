/** What can be asked of each verb of KubeClient. */
import type { KubeObject } from './resource.ts';

export interface ListOptions {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** Objects per page (Kubernetes' own word for it); all pages are read. Default 500. */
  readonly limit?: number | undefined;
}

export interface Page {
  readonly items: KubeObject[];
  readonly resourceVersion: string;
  /** True when the list was begun anew: what earlier pages said does not count. */
  readonly restarted: boolean;
}

export interface ApplyOptions {
  /** One per concern: fields that this manager gave earlier and gives no more are removed. */
  readonly fieldManager: string;
  /** Take fields over from other managers instead of failing. Default false. */
  readonly force?: boolean | undefined;
  readonly subresource?: string | undefined;
}

export interface PatchOptions {
  readonly subresource?: string | undefined;
  readonly fieldManager?: string | undefined;
}

export interface DeleteOptions {
  /** Delete only this very object. If it is gone and another bears the name, that one is left and the call succeeds. */
  readonly uid?: string | undefined;
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground' | undefined;
  readonly gracePeriodSeconds?: number | undefined;
}

export interface JsonPatchOperation {
  readonly op: 'add' | 'remove' | 'replace' | 'move' | 'copy' | 'test';
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

/** Limits for one call. */
export interface CallOptions {
  readonly timeoutMs?: number | undefined;
  readonly maxRetries?: number | undefined;
}
