import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomUUID } from 'node:crypto';
import type { Cluster } from '../cluster/cluster.ts';
import { waitUntil } from '../cluster/wait.ts';
import { busyboxImage, EXTERNAL, SCENARIO_NODES, sharedCluster } from './support/cluster.ts';

const namespace = `cluster-check-${randomUUID().slice(0, 8)}`;
let cluster: Cluster;

beforeAll(async () => {
  cluster = await sharedCluster();
  await cluster.kubectl(['create', 'namespace', namespace]);
});

afterAll(async () => {
  await cluster.kubectl(['delete', 'namespace', namespace, '--wait=false']);
});

async function nodeNames(): Promise<string[]> {
  const names = await cluster.kubectl(['get', 'nodes', '-o', 'jsonpath={.items[*].metadata.name}']);
  return names.split(' ');
}

/** Runs a shell command to its end in a Pod on one node and returns what it printed. */
async function runInPod(node: string, command: string): Promise<string> {
  const name = `on-${node}`;
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      nodeName: node,
      restartPolicy: 'Never',
      containers: [{ name: 'main', image: busyboxImage(cluster), command: ['sh', '-c', command] }],
    },
  };
  // A namespace needs a moment to get its ServiceAccount, and without it no Pod is admitted.
  await waitUntil(
    `Pod ${name} created`,
    async () => ({
      value: await cluster.kubectl(['apply', '-f', '-'], { input: JSON.stringify(pod) }),
    }),
    { timeoutMs: 30_000 },
  );
  const phase = ['get', 'pod', name, '-n', namespace, '-o', 'jsonpath={.status.phase}'];
  await waitUntil(
    `Pod ${name} ended`,
    async () => {
      const seen = await cluster.kubectl(phase);
      return seen === 'Succeeded' ? { value: seen } : { waitingFor: `phase is ${seen}` };
    },
    { timeoutMs: 120_000 },
  );
  return cluster.kubectl(['logs', name, '-n', namespace]);
}

describe('the cluster under test', () => {
  test('has every node Ready', async () => {
    const ready = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{" "}{end}';
    const seen = await cluster.kubectl(['get', 'nodes', '-o', `jsonpath=${ready}`]);
    expect(new Set(seen.trim().split(' '))).toEqual(new Set(['True']));
  });

  test('runs a Pod on each node that reaches the API server by its Service address', async () => {
    const request =
      'wget -q -T 10 -O - --no-check-certificate ' +
      'https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version';
    for (const node of await nodeNames()) {
      const answer = await runInPod(node, request);
      expect(answer).toContain('gitVersion');
    }
  });
});

describe('a cluster of the harness', () => {
  const isExternal = process.env['E2E_CLUSTER'] === EXTERNAL;
  const reason = 'the nodes of an external cluster are not ours to choose or to stop';

  test('has a containerd of each wanted release', async (context) => {
    context.skip(isExternal, reason);
    const version = '{.status.nodeInfo.containerRuntimeVersion}';
    for (const { name, containerd } of SCENARIO_NODES) {
      const seen = await cluster.kubectl(['get', 'node', name, '-o', `jsonpath=${version}`]);
      expect(seen).toMatch(new RegExp(`^containerd://${containerd.replace('.', '\\.')}\\.`));
    }
  });

  test('takes in a node later, starts it again after a power cut, and lets it go', async () => {
    const late = { name: 'node-late', containerd: '1.7', kvm: false } as const;
    try {
      await cluster.addNode(late);
      expect(await nodeNames()).toContain(late.name);
      await expect(cluster.exec(late.name, ['test', '-e', '/dev/kvm'])).rejects.toThrow();

      await cluster.writeFile(late.name, '/etc/kept', 'kept');
      await cluster.stopNode(late.name);
      await cluster.startNode(late.name);
      expect((await cluster.readFile(late.name, '/etc/kept')).toString()).toBe('kept');
      await expect(cluster.exec(late.name, ['test', '-e', '/dev/kvm'])).rejects.toThrow();
    } finally {
      await cluster.removeNode(late.name);
    }
    expect(await nodeNames()).not.toContain(late.name);
    expect((await cluster.nodes()).map(({ name }) => name)).not.toContain(late.name);
  });
});
