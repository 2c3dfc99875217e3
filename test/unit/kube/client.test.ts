import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import {
  isAlreadyExists,
  isConflict,
  conflictingFields,
  isNotFound,
} from '../../../src/kube/errors.ts';
import {
  CONFIG_MAPS,
  DAEMON_SETS,
  NODES,
  objectKey,
  PODS,
  resourcePath,
  type KubeObject,
} from '../../../src/kube/resource.ts';
import { createTransport, type Transport } from '../../../src/kube/transport.ts';
import { failure, json, list, node, ScriptedServer } from './scriptedServer.ts';

const NODE = '/api/v1/nodes/worker-1';

describe('KubeClient', () => {
  let server: ScriptedServer;
  let transport: Transport;
  let client: KubeClient;
  const signal = AbortSignal.timeout(10_000);

  beforeEach(async () => {
    server = await ScriptedServer.start();
    transport = createTransport(server.kubeConfig());
    client = new KubeClient(transport);
  });

  afterEach(async () => {
    await transport.close();
    await server.close();
  });

  it('applies the very bytes that were built, with fields that no model knows', async () => {
    const object = {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'kata', namespace: 'kata-nodes' },
      spec: { 'x-kubernetes-next': { from: [], default: null, enum: ['ü', '\u2028'] } },
    };
    server.on('PATCH /apis/apps/v1/namespaces/kata-nodes/daemonsets/kata', json(object));
    await client.apply(
      DAEMON_SETS,
      object,
      { fieldManager: 'kata-operator/spec', force: true },
      signal,
    );
    const request = server.received[0];
    expect(request?.body).toBe(JSON.stringify(object));
    expect(request?.headers['content-type']).toBe('application/apply-patch+yaml');
    expect(Object.fromEntries(request?.query ?? [])).toEqual({
      fieldManager: 'kata-operator/spec',
      force: 'true',
    });
  });

  it('adds apiVersion and kind to an apply that lacks them', async () => {
    server.on(`PATCH ${NODE}`, json(node('worker-1', '2')));
    await client.apply(NODES, { metadata: { name: 'worker-1' } }, { fieldManager: 'test' }, signal);
    expect(JSON.parse(server.received[0]?.body ?? '')).toEqual({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'worker-1' },
    });
  });

  it('never makes a vanished object anew when the apply carries its uid', async () => {
    // What kube-apiserver 1.36 answers to an apply with metadata.uid when there is no such object.
    const message =
      'Operation cannot be fulfilled on nodes "worker-1": uid mismatch: the provided object specified uid 0a, and no existing object was found';
    server.on(`PATCH ${NODE}`, failure(409, 'Conflict', message));
    const labels = { metadata: { name: 'worker-1', uid: '0a', labels: { a: 'b' } } };
    const thrown = await rejection(client.apply(NODES, labels, { fieldManager: 'test' }, signal));
    expect(isConflict(thrown)).toBe(true);
    expect(conflictingFields(thrown)).toEqual([]);
    expect(server.received[0]?.body).toContain('"uid":"0a"');
    expect(server.received).toHaveLength(1);
  });

  it('calls it a conflict too when another object bears the name by now', async () => {
    // kube-apiserver 1.36, to an apply with the uid of an object that was made anew.
    const field = 'metadata.uid';
    const message = 'Invalid value: "0a": field is immutable';
    const details = { causes: [{ reason: 'FieldValueInvalid', message, field }] };
    server.on(`PATCH ${NODE}`, failure(422, 'Invalid', message, { details }));
    const labels = { metadata: { name: 'worker-1', uid: '0a', labels: { a: 'b' } } };
    const thrown = await rejection(client.apply(NODES, labels, { fieldManager: 'test' }, signal));
    expect(isConflict(thrown)).toBe(true);
  });

  it('tells a conflict of field managers from other conflicts, and names the field', async () => {
    const causes = [
      {
        reason: 'FieldManagerConflict',
        message: 'conflict with "kubectl"',
        field: '.metadata.labels.a',
      },
    ];
    server.on(`PATCH ${NODE}`, failure(409, 'Conflict', 'Apply failed', { details: { causes } }));
    const thrown = await rejection(
      client.apply(NODES, { metadata: { name: 'worker-1' } }, { fieldManager: 'test' }, signal),
    );
    expect(conflictingFields(thrown)).toEqual(['.metadata.labels.a']);
    expect(thrown).toMatchObject({ causes, retryable: false });
  });

  it('calls a field that the schema does not declare terminal although the server says 500', async () => {
    server.on(
      `PATCH ${NODE}`,
      failure(
        500,
        'InternalError',
        'failed to create typed patch object: .spec.typo: field not declared in schema',
      ),
    );
    const thrown = await rejection(
      client.apply(NODES, { metadata: { name: 'worker-1' } }, { fieldManager: 'test' }, signal),
    );
    expect(thrown).toMatchObject({ status: 500, retryable: false });
  });

  it('sends each kind of patch with its content type', async () => {
    server
      .on(`PATCH ${NODE}`, json(node('worker-1', '2')))
      .on(`PATCH ${NODE}/status`, json(node('worker-1', '3')));
    await client.mergePatch(
      NODES,
      { name: 'worker-1' },
      { metadata: { labels: { a: null } } },
      { subresource: 'status' },
      signal,
    );
    await client.jsonPatch(
      NODES,
      { name: 'worker-1' },
      [{ op: 'test', path: '/metadata/uid', value: 'x' }],
      {},
      signal,
    );
    expect(
      server.received.map(({ path, headers, body }) => [path, headers['content-type'], body]),
    ).toEqual([
      [`${NODE}/status`, 'application/merge-patch+json', '{"metadata":{"labels":{"a":null}}}'],
      [NODE, 'application/json-patch+json', '[{"op":"test","path":"/metadata/uid","value":"x"}]'],
    ]);
  });

  it('reads all pages of a list', async () => {
    server.on(
      'GET /api/v1/nodes',
      list([node('a', '1')], '10', 'next'),
      list([node('b', '1')], '10'),
    );
    const { items, resourceVersion } = await client.list(
      NODES,
      { labelSelector: 'a=b,c', limit: 1 },
      signal,
    );
    expect(items.map(({ kind, metadata }) => [kind, metadata.name])).toEqual([
      ['Node', 'a'],
      ['Node', 'b'],
    ]);
    expect(resourceVersion).toBe('10');
    expect(
      server.received.map(({ query }) => [query.get('labelSelector'), query.get('continue')]),
    ).toEqual([
      ['a=b,c', null],
      ['a=b,c', 'next'],
    ]);
  });

  it('reads a list of nothing, also when the server writes null', async () => {
    server.on('GET /api/v1/nodes', json({ metadata: { resourceVersion: '1' }, items: null }));
    expect(await client.list(NODES, {}, signal)).toEqual({ items: [], resourceVersion: '1' });
  });

  it.each([
    ['HTML of a proxy', '<html>hello</html>'],
    ['a list without items', '{"metadata":{},"items":7}'],
    ['an item without a name', '{"metadata":{},"items":[{"metadata":{}}]}'],
  ])('refuses %s as a list', async (_, body) => {
    server.on('GET /api/v1/nodes', (response) => {
      response.end(body);
    });
    expect(await rejection(client.list(NODES, {}, signal))).toMatchObject({
      status: 0,
      reason: 'InvalidAnswer',
    });
  });

  it('takes it that what should be deleted is already gone', async () => {
    server.on(`DELETE ${NODE}`, failure(404, 'NotFound'));
    await client.delete(NODES, { name: 'worker-1' }, {}, signal);
    expect(server.received).toHaveLength(1);
  });

  it('deletes only the object with the uid, and leaves another of the same name alone', async () => {
    server.on(
      `DELETE ${NODE}`,
      failure(
        409,
        'Conflict',
        'Operation cannot be fulfilled on nodes "worker-1": the UID in the precondition (old) does not match the UID in record (new).',
      ),
    );
    await client.delete(
      NODES,
      { name: 'worker-1' },
      { uid: 'old', propagationPolicy: 'Foreground', gracePeriodSeconds: 0 },
      signal,
    );
    expect(JSON.parse(server.received[0]?.body ?? '')).toEqual({
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      preconditions: { uid: 'old' },
      propagationPolicy: 'Foreground',
      gracePeriodSeconds: 0,
    });
  });

  it('passes on any other refusal to delete', async () => {
    server.on(`DELETE ${NODE}`, failure(409, 'Conflict', 'object was modified'));
    expect(
      isConflict(await rejection(client.delete(NODES, { name: 'worker-1' }, { uid: 'x' }, signal))),
    ).toBe(true);
  });

  it.each([
    [404, 'NotFound', isNotFound],
    [409, 'Conflict', isConflict],
    [409, 'AlreadyExists', isAlreadyExists],
  ])('recognises %i %s', async (code, reason, recognise) => {
    server.on(`GET ${NODE}`, failure(code, reason, 'no'));
    const thrown = await rejection(client.get(NODES, { name: 'worker-1' }, signal));
    expect([isNotFound, isConflict, isAlreadyExists].filter((is) => is(thrown))).toEqual([
      recognise,
    ]);
    expect(thrown).toMatchObject({
      message: `GET ${NODE}: ${code} ${reason}: no`,
      retryable: false,
    });
  });

  it('keeps the message of an error short, whatever the body', async () => {
    server.on(`GET ${NODE}`, failure(500, 'InternalError', 'x'.repeat(100_000)));
    const thrown = await rejection(client.get(NODES, { name: 'worker-1' }, signal));
    expect(thrown.message.length).toBeLessThan(600);
    expect(thrown).toMatchObject({ retryable: true });
  });

  it('does not create an object of a namespaced resource without a namespace', async () => {
    await expect(client.create(PODS, { metadata: { name: 'a' } }, signal)).rejects.toThrow(
      /namespace/,
    );
    expect(server.received).toHaveLength(0);
  });

  it('creates, and replaces at a resourceVersion', async () => {
    const object: KubeObject = {
      metadata: { name: 'plan', namespace: 'n', resourceVersion: '4' },
      data: { a: 'b' },
    };
    server
      .on('POST /api/v1/namespaces/n/configmaps', json(object, 201))
      .on('PUT /api/v1/namespaces/n/configmaps/plan', json(object));
    await client.create(CONFIG_MAPS, object, signal, { fieldManager: 'test' });
    await client.update(CONFIG_MAPS, object, signal);
    expect(
      server.received.map(({ method, body }) => [method, JSON.parse(body) as unknown]),
    ).toEqual([
      ['POST', { apiVersion: 'v1', kind: 'ConfigMap', ...object }],
      ['PUT', { apiVersion: 'v1', kind: 'ConfigMap', ...object }],
    ]);
  });
});

describe('resourcePath', () => {
  it.each([
    [NODES, {}, '/api/v1/nodes'],
    [NODES, { name: 'a', subresource: 'status' }, '/api/v1/nodes/a/status'],
    [PODS, {}, '/api/v1/pods'],
    [PODS, { namespace: 'n' }, '/api/v1/namespaces/n/pods'],
    [DAEMON_SETS, { namespace: 'n', name: 'd' }, '/apis/apps/v1/namespaces/n/daemonsets/d'],
    [NODES, { namespace: 'ignored', name: 'a/../b' }, '/api/v1/nodes/a%2F..%2Fb'],
  ])('of %j with %j', (resource, of, path) => {
    expect(resourcePath(resource, of)).toBe(path);
  });
});

describe('objectKey', () => {
  it.each([
    ['a', { name: 'a' }],
    ['n/a', { namespace: 'n', name: 'a' }],
  ])('is %s', (key, ref) => {
    expect(objectKey(ref)).toBe(key);
  });
});

async function rejection(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (outcome instanceof Error) return outcome;
  throw new Error('the call did not fail');
}
