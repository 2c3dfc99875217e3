/**
 * Verbs of the Kubernetes API on raw JSON. What is given is what is sent: there is no model in between
 * that could drop a field it does not know. Owns content types, query parameters and paging.
 */
import { abortReason } from './clock.ts';
import { isConflict, isExpired, isNotFound } from './errors.ts';
import { asList, asObject } from './shapes.ts';
import {
  apiVersionOf,
  resourcePath,
  type KubeObject,
  type ObjectRef,
  type Resource,
} from './resource.ts';
import type { Method, Query, StreamRequest, Transport } from './transport.ts';

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

const DEFAULT_PAGE_SIZE = 500;
const CONTENT_TYPE = {
  apply: 'application/apply-patch+yaml',
  mergePatch: 'application/merge-patch+json',
  jsonPatch: 'application/json-patch+json',
} as const;

export class KubeClient {
  readonly #transport: Transport;
  readonly #beforeWrite: (() => void) | undefined;

  /** `beforeWrite` is called right before a mutating request is written to its socket, and refuses it by throwing. */
  constructor(transport: Transport, beforeWrite?: () => void) {
    this.#transport = transport;
    this.#beforeWrite = beforeWrite;
  }

  /** The same client with one more check before every mutating request. */
  guardedBy(check: () => void): KubeClient {
    const outer = this.#beforeWrite;
    return new KubeClient(this.#transport, () => {
      outer?.();
      check();
    });
  }

  async get(
    resource: Resource,
    ref: ObjectRef,
    signal: AbortSignal,
    options: CallOptions = {},
  ): Promise<KubeObject> {
    const path = resourcePath(resource, ref);
    return asObject(
      await this.#transport.request({ method: 'GET', path, signal, ...options }),
      path,
    );
  }

  /** All objects, page by page; the resourceVersion is that of the first page, as the pages are of one moment. */
  async list(
    resource: Resource,
    options: ListOptions,
    signal: AbortSignal,
  ): Promise<{ items: KubeObject[]; resourceVersion: string }> {
    let items: KubeObject[] = [];
    let resourceVersion = '';
    for await (const page of this.pages(resource, options, signal)) {
      items = page.restarted ? page.items : items.concat(page.items);
      resourceVersion = page.resourceVersion;
    }
    return { items, resourceVersion };
  }

  /** The pages of a list, each item with apiVersion and kind, which the API server leaves out of lists. */
  async *pages(
    resource: Resource,
    options: ListOptions,
    signal: AbortSignal,
  ): AsyncGenerator<Page> {
    const path = resourcePath(resource, { namespace: options.namespace });
    let limit: number | undefined = options.limit ?? DEFAULT_PAGE_SIZE;
    let continueToken: string | undefined;
    let restarted = false;
    do {
      const query: Query = {
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
        limit,
        continue: continueToken,
      };
      let answer: unknown;
      try {
        answer = await this.#transport.request({ method: 'GET', path, query, signal });
      } catch (thrown) {
        if (continueToken === undefined || !isExpired(thrown)) throw thrown;
        // Reading the pages took longer than the server keeps history. In one piece it cannot expire.
        limit = undefined;
        continueToken = undefined;
        restarted = true;
        continue;
      }
      const list = asList(answer, path);
      const items = list.items.map((item) => ({
        ...item,
        apiVersion: apiVersionOf(resource),
        kind: resource.kind,
      }));
      yield { items, resourceVersion: list.resourceVersion, restarted };
      restarted = false;
      continueToken = list.continueToken;
    } while (continueToken !== undefined || restarted);
    if (signal.aborted) throw abortReason(signal);
  }

  /** Raw watch events until the server ends the stream. */
  watch(
    resource: Resource,
    options: Omit<ListOptions, 'limit'> & { resourceVersion: string; timeoutSeconds: number },
    stream: Pick<StreamRequest, 'signal' | 'idleTimeoutMs'>,
  ): AsyncIterable<unknown> {
    return this.#transport.stream({
      path: resourcePath(resource, { namespace: options.namespace }),
      query: {
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion: options.resourceVersion,
        timeoutSeconds: options.timeoutSeconds,
        labelSelector: options.labelSelector,
        fieldSelector: options.fieldSelector,
      },
      ...stream,
    });
  }

  async create(
    resource: Resource,
    object: KubeObject,
    signal: AbortSignal,
    options: Pick<PatchOptions, 'fieldManager'> & CallOptions = {},
  ): Promise<KubeObject> {
    const { namespace, name } = object.metadata;
    if (resource.namespaced && namespace === undefined) {
      throw new TypeError(`${resource.kind} ${name}: a namespace is needed`);
    }
    const path = resourcePath(resource, { namespace });
    return this.#write('POST', path, withType(resource, object), {
      signal,
      query: { fieldManager: options.fieldManager },
      timeoutMs: options.timeoutMs,
      maxRetries: options.maxRetries,
    });
  }

  /** Replaces the object; fails with Conflict when it is no longer at the resourceVersion given in it. */
  async update(
    resource: Resource,
    object: KubeObject,
    signal: AbortSignal,
    options: PatchOptions & CallOptions = {},
  ): Promise<KubeObject> {
    const { namespace, name } = object.metadata;
    const path = resourcePath(resource, { namespace, name, subresource: options.subresource });
    return this.#write('PUT', path, withType(resource, object), {
      signal,
      query: { fieldManager: options.fieldManager },
      timeoutMs: options.timeoutMs,
      maxRetries: options.maxRetries,
    });
  }

  /**
   * Server-side apply of an object built from scratch, never of one that was read.
   * With `metadata.uid` an object that vanished or was made anew is a Conflict; without, it is created.
   */
  async apply(
    resource: Resource,
    object: KubeObject,
    options: ApplyOptions,
    signal: AbortSignal,
  ): Promise<KubeObject> {
    const { namespace, name } = object.metadata;
    const path = resourcePath(resource, { namespace, name, subresource: options.subresource });
    return this.#write('PATCH', path, withType(resource, object), {
      signal,
      contentType: CONTENT_TYPE.apply,
      query: {
        fieldManager: options.fieldManager,
        force: options.force === true ? true : undefined,
      },
    });
  }

  async mergePatch(
    resource: Resource,
    ref: ObjectRef,
    body: object,
    options: PatchOptions,
    signal: AbortSignal,
  ): Promise<KubeObject> {
    const path = resourcePath(resource, { ...ref, subresource: options.subresource });
    return this.#write('PATCH', path, body, {
      signal,
      contentType: CONTENT_TYPE.mergePatch,
      query: { fieldManager: options.fieldManager },
    });
  }

  async jsonPatch(
    resource: Resource,
    ref: ObjectRef,
    operations: readonly JsonPatchOperation[],
    options: PatchOptions,
    signal: AbortSignal,
  ): Promise<KubeObject> {
    const path = resourcePath(resource, { ...ref, subresource: options.subresource });
    return this.#write('PATCH', path, operations, {
      signal,
      contentType: CONTENT_TYPE.jsonPatch,
      query: { fieldManager: options.fieldManager },
    });
  }

  /** Succeeds also when there is nothing to delete. The object may live on until its finalizers are done. */
  async delete(
    resource: Resource,
    ref: ObjectRef,
    options: DeleteOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const body = {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      ...(options.uid === undefined ? {} : { preconditions: { uid: options.uid } }),
      ...(options.propagationPolicy === undefined
        ? {}
        : { propagationPolicy: options.propagationPolicy }),
      ...(options.gracePeriodSeconds === undefined
        ? {}
        : { gracePeriodSeconds: options.gracePeriodSeconds }),
    };
    try {
      await this.#transport.request({
        method: 'DELETE',
        path: resourcePath(resource, ref),
        body,
        signal,
        beforeSend: this.#beforeWrite,
      });
    } catch (thrown) {
      const isAnother =
        options.uid !== undefined && isConflict(thrown) && /\buid\b/i.test(String(thrown));
      if (!isNotFound(thrown) && !isAnother) throw thrown;
    }
  }

  async #write(
    method: Method,
    path: string,
    body: unknown,
    how: CallOptions & { signal: AbortSignal; query?: Query; contentType?: string },
  ): Promise<KubeObject> {
    const answer = await this.#transport.request({
      method,
      path,
      body,
      beforeSend: this.#beforeWrite,
      ...how,
    });
    return asObject(answer, path);
  }
}

function withType(resource: Resource, object: KubeObject): KubeObject {
  if (object.apiVersion !== undefined && object.kind !== undefined) return object;
  return { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object };
}

export { fenced } from './fence.ts';
