/** Artifacts from a server with a password and a private authority, and from an image that kubelet mounts. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeBundle } from '../../src/node/artifacts/bundle.ts';
import { networkGateway } from '../cluster/layout.ts';
import { findNetwork } from '../cluster/network.ts';
import { Pki } from '../cluster/pki.ts';
import { run } from '../cluster/process.ts';
import { existsOnNode } from '../operator/host.ts';
import { NODE_NAMESPACE } from '../operator/operator.ts';
import { artifactsDirectory, packArchives, type ArchiveIndex } from '../standin/pack.ts';
import { INSTALL_TIMEOUT_MS, kataDeployment, NODES, rig, type Rig } from './support/operator.ts';

const SECRET = 'correct-horse-battery-staple';
const BASIC = Buffer.from(`kata:${SECRET}`).toString('base64');
const IMAGE = 'docker.io/library/kata-artifacts';
const INVENTORY = 'pods,configmaps,daemonsets,events,katanodes,katadeployments,nodes';

let it_: Rig;
let directory: string;
let index: ArchiveIndex;

beforeAll(async () => {
  it_ = await rig();
  await it_.operator.remove('kata');
  directory = await mkdtemp(join(tmpdir(), 'kata-operator-sources-'));
  index = await packArchives({ kind: 'small' });
});
afterAll(async () => {
  await it_.operator.remove('kata');
  await rm(directory, { recursive: true, force: true });
});

describe('artifacts behind a password', () => {
  let server: Server;
  let url: string;
  let certificates: string;

  beforeAll(async () => {
    const network = await findNetwork(it_.cluster.name);
    if (network === undefined) throw new Error('the cluster has no network on this machine');
    const host = networkGateway(network);
    const pki = await Pki.open(join(directory, 'pki'));
    await pki.issue({ file: 'server', commonName: 'artifacts', names: [`IP:${host}`] });
    certificates = await pki.read('ca.crt');
    const identity = { cert: await pki.read('server.crt'), key: await pki.read('server.key') };
    server = createServer(identity, (request, response) => {
      const file = index.archives.find((archive) => request.url === `/${archive.file}`)?.file;
      if (request.headers.authorization !== `Basic ${BASIC}`) response.writeHead(401).end();
      else if (file === undefined) response.writeHead(404).end();
      else
        void readFile(join(artifactsDirectory('small'), file)).then((content) =>
          response.end(content),
        );
    });
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('the server has no port');
    url = `https://${host}:${address.port}`;
  });
  afterAll(async () => {
    server.closeAllConnections();
    server.close();
    for (const object of ['secret/artifact-login', 'configmap/corporate-ca'])
      await inNodeNamespace('delete', object, '--ignore-not-found');
    await it_.operator.remove('kata');
  });

  const inNodeNamespace = (...args: string[]): Promise<string> =>
    it_.cluster.kubectl(['-n', NODE_NAMESPACE, ...args]);

  const applySecret = (password: string): Promise<void> =>
    it_.operator.apply({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'artifact-login', namespace: NODE_NAMESPACE },
      stringData: { username: 'kata', password },
    });

  const podUids = (): Promise<string> =>
    inNodeNamespace('get', 'pods', '-o', 'jsonpath={.items[*].metadata.uid}');

  it('name the Secret that is missing, on the node and in the condition', async () => {
    const { operator } = it_;
    const sources = index.archives.map(({ file, sha256 }) => ({ url: `${url}/${file}`, sha256 }));
    await operator.apply(
      kataDeployment({
        artifacts: {
          sources,
          credentialsSecret: { name: 'artifact-login' },
          caConfigMap: { name: 'corporate-ca' },
        },
        rollout: { failureBudget: 0, maxParallel: 2, maxUnavailable: 2 },
      }),
    );
    const condition = await operator.waitReason('kata', 'Degraded', 'FailureBudgetExhausted');
    expect(condition.message).toContain(
      'ArtifactAccessMissing: Secret artifact-login: it is missing',
    );
  });

  it('are installed once Secret and ConfigMap are there and a person asks', async () => {
    const { cluster, operator } = it_;
    await applySecret(SECRET);
    await operator.apply({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'corporate-ca', namespace: NODE_NAMESPACE },
      data: { 'ca.crt': certificates },
    });
    await cluster.kubectl([
      ...['annotate', 'katanodes', '--all', '--overwrite'],
      'kata-operator.dev/retry=the-secret-is-there',
    ]);
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    for (const node of NODES)
      expect((await operator.kataNode(node))?.status?.phase, node).toBe('Ready');
  });

  it('leave the password in no object, no log and no file of a node', async () => {
    const { cluster } = it_;
    const texts = [await cluster.kubectl(['get', INVENTORY, '-A', '-o', 'json'])];
    const pods = await inNodeNamespace('get', 'pods', '-o', 'jsonpath={.items[*].metadata.name}');
    for (const pod of pods.split(' '))
      texts.push(await inNodeNamespace('logs', pod, '--all-containers'));
    for (const text of texts) {
      expect(text.length).toBeGreaterThan(100);
      expect(text.includes(SECRET) || text.includes(BASIC)).toBe(false);
    }
    for (const node of NODES) {
      const patterns = ['-e', SECRET, '-e', BASIC];
      const places = ['/opt', '/etc', '/var/log'];
      const search = `grep -rlF ${patterns.join(' ')} ${places.join(' ')} || true`;
      expect((await cluster.exec(node, ['sh', '-c', search])).trim(), node).toBe('');
    }
  });

  it('move no node when the password changes', async () => {
    const before = await podUids();
    await applySecret('another');
    await it_.operator.holdsFor(20_000);
    expect(await podUids()).toBe(before);
  });
});

describe('an image of artifacts', () => {
  let reference: string;

  beforeAll(async () => {
    const { cluster } = it_;
    const bundle = join(directory, 'bundle');
    const sources = index.archives.map(({ file }) => ({
      file: join(artifactsDirectory('small'), file),
    }));
    await makeBundle({ directory: bundle, sources }, new AbortController().signal);
    await run(['docker', 'build', '--network', 'none', '--tag', `${IMAGE}:e2e`, bundle], {
      env: { DOCKER_BUILDKIT: '0' },
      timeoutMs: 120_000,
    });
    await cluster.loadImage(`${IMAGE}:e2e`);
    // What a registry would have said: nodes have the image by its tag alone.
    const ctr = ['ctr', '--namespace', 'k8s.io', 'images'];
    const listing = await cluster.exec('node-a', [...ctr, 'ls', `name==${IMAGE}:e2e`]);
    const digest = /sha256:[0-9a-f]{64}/.exec(listing)?.[0] ?? '';
    reference = `${IMAGE}@${digest}`;
    for (const node of NODES)
      await cluster.exec(node, [...ctr, 'tag', '--force', `${IMAGE}:e2e`, reference]);
  });

  it('is installed by a node that can mount it, and explained by one that cannot', async () => {
    const { cluster, operator } = it_;
    await operator.apply(
      kataDeployment({
        artifacts: { image: { reference } },
        rollout: { maxParallel: 2, maxUnavailable: 2 },
      }),
    );
    const able = await operator.waitPhase('node-a', 'Ready', INSTALL_TIMEOUT_MS);
    expect(able.status?.handlers).toContain('kata-qemu');
    const unable = await operator.waitPhase('node-b', 'Unsupported', INSTALL_TIMEOUT_MS);
    expect(unable.status?.error).toMatchObject({ reason: 'ImageVolumeUnsupported' });
    expect(unable.status?.error?.message).toMatch(/containerd 1\.7/);
    expect(await existsOnNode(cluster, 'node-b', '/opt/kata')).toBe(false);
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
  });
});
