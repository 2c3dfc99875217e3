/**
 * Verbs of the Kubernetes API on raw JSON. What is given is what is sent: there is no model in between
 * that could drop a field it does not know. Owns content types and query parameters.
 */
import { isConflict, isNotFound } from './errors.ts';
import { pagesOf } from './pages.ts';
import { asObject } from './shapes.ts';
import {
  apiVersionOf,
  resourcePath,
  type KubeObject,
  type ObjectRef,
  type Resource,
} from './resource.ts';
import type { Method, StreamRequest, Transport } from './transport.ts';
import type {
  ApplyOptions,
  CallOptions,
  DeleteOptions,
  JsonPatchOperation,
  ListOptions,
  Page,
  PatchOptions,
} from './verbs.ts';

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
    const answer = await this.#transport.request({ method: 'GET', path, signal, ...options });
    return asObject(answer, 'GET', path);
  }

  /** All objects of one moment, whose resourceVersion comes with them. */
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
  pages(resource: Resource, options: ListOptions, signal: AbortSignal): AsyncIterable<Page> {
    return pagesOf(this.#transport, resource, options, signal);
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
    return this.#write('POST', resourcePath(resource, { namespace }), options, {
      body: withType(resource, object),
      signal,
    });
  }

  /** Replaces the object; fails with Conflict when it is no longer at the resourceVersion given in it. */
  async update(
    resource: Resource,
    object: KubeObject,
    signal: AbortSignal,
    options: PatchOptions & CallOptions = {},
  ): Promise<KubeObject> {
    return this.#write('PUT', pathOf(resource, object.metadata, options), options, {
      body: withType(resource, object),
      signal,
    });
  }

  /**
   * Server-side apply of an object built from scratch, never of one that was read.
   * With `metadata.uid` an object that vanished or was made anew is a Conflict; without, it is created.
   */
  async apply(
    resource: Resource,
    object: KubeObject,
    options: ApplyOptions & CallOptions,
    signal: AbortSignal,
  ): Promise<KubeObject> {
    return this.#write('PATCH', pathOf(resource, object.metadata, options), options, {
      body: withType(resource, object),
      contentType: CONTENT_TYPE.apply,
      signal,
    });
  }

  async mergePatch(
    resource: Resource,
    ref: ObjectRef,
    body: object,
    options: PatchOptions & CallOptions,
    signal: AbortSignal,
  ): Promise<KubeObject> {
    const contentType = CONTENT_TYPE.mergePatch;
    return this.#write('PATCH', pathOf(resource, ref, options), options, {
      body,
      contentType,
      signal,
    });
  }

  async jsonPatch(
    resource: Resource,
    ref: ObjectRef,
    operations: readonly JsonPatchOperation[],
    options: PatchOptions & CallOptions,
    signal: AbortSignal,
  ): Promise<KubeObject> {
    return this.#write('PATCH', pathOf(resource, ref, options), options, {
      body: operations,
      contentType: CONTENT_TYPE.jsonPatch,
      signal,
    });
  }

  /** Succeeds also when there is nothing to delete. The object may live on until its finalizers are done. */
  async delete(
    resource: Resource,
    ref: ObjectRef,
    options: DeleteOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const { uid, ...rest } = options;
    const preconditions = uid === undefined ? {} : { preconditions: { uid } };
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', ...preconditions, ...rest };
    try {
      await this.#transport.request({
        method: 'DELETE',
        path: resourcePath(resource, ref),
        body,
        signal,
        beforeSend: this.#beforeWrite,
      });
    } catch (thrown) {
      const isAnother = uid !== undefined && isConflict(thrown) && /\buid\b/i.test(String(thrown));
      if (!isNotFound(thrown) && !isAnother) throw thrown;
    }
  }

  async #write(
    method: Method,
    path: string,
    options: PatchOptions & CallOptions & { force?: boolean | undefined },
    what: { body: unknown; contentType?: string; signal: AbortSignal },
  ): Promise<KubeObject> {
    const answer = await this.#transport.request({
      method,
      path,
      query: {
        fieldManager: options.fieldManager,
        force: options.force === true ? true : undefined,
      },
      timeoutMs: options.timeoutMs,
      maxRetries: options.maxRetries,
      beforeSend: this.#beforeWrite,
      ...what,
    });
    return asObject(answer, method, path);
  }
}

function pathOf(
  resource: Resource,
  { namespace, name }: ObjectRef,
  { subresource }: { subresource?: string | undefined },
): string {
  return resourcePath(resource, { namespace, name, subresource });
}

function withType(resource: Resource, object: KubeObject): KubeObject {
  if (object.apiVersion !== undefined && object.kind !== undefined) return object;
  return { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object };
}
