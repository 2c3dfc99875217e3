/**
 * The same interface to a kind cluster, for machines with kind, Docker and a registry.
 *
 * Owns the calls to kind. It must never be needed by the harness's own cluster. kind's nodes are
 * privileged containers with images of a registry: where there is neither, this path cannot run, and it
 * is not tested.
 */
import { dirname, join } from 'node:path';
import { mkdir } from 'node:fs/promises';
import { DockerNodes } from './nodeAccess.ts';
import type { NodeRecord } from './node.ts';
import { REPOSITORY } from './paths.ts';
import { output, run, which } from './process.ts';
import type { Progress } from './progress.ts';

const CREATE_TIMEOUT_MS = 10 * 60_000;

/** Creates the kind cluster of kind-config.yaml unless it exists, and writes its kubeconfig. */
export async function ensureKind(
  name: string,
  kubeconfigPath: string,
  progress: Progress,
): Promise<void> {
  if ((await which('kind')) === undefined) {
    throw new Error(
      'kind is not installed: see https://kind.sigs.k8s.io, or leave out CLUSTER=kind',
    );
  }
  await mkdir(dirname(kubeconfigPath), { recursive: true, mode: 0o700 });
  const clusters = (await output(['kind', 'get', 'clusters'])).split('\n');
  const kubeconfig = ['--name', name, '--kubeconfig', kubeconfigPath];
  if (clusters.includes(name)) {
    await run(['kind', 'export', 'kubeconfig', ...kubeconfig]);
    return;
  }
  const config = join(REPOSITORY, 'kind-config.yaml');
  await progress.step(`kind create cluster ${name}`, () =>
    run(['kind', 'create', 'cluster', '--config', config, '--wait', '180s', ...kubeconfig], {
      timeoutMs: CREATE_TIMEOUT_MS,
    }),
  );
}

/** kind's nodes: containers that have the names of their nodes. */
export class KindNodes extends DockerNodes {
  override readonly canAddNodes = false;
  readonly #cluster: string;

  constructor(cluster: string) {
    super(cluster, (node) => node);
    this.#cluster = cluster;
  }

  override async list(): Promise<NodeRecord[]> {
    const names = await output(['kind', 'get', 'nodes', '--name', this.#cluster]);
    return names
      .split('\n')
      .filter((name) => name !== '' && !name.includes('control-plane'))
      .map((name, index) => ({
        name,
        containerd: '2.4', // whatever release the image of kind has; nothing here depends on it
        kvm: true,
        ordinal: index + 1,
        running: true,
      }));
  }

  override async loadImage(node: string, reference: string): Promise<void> {
    await run(
      ['kind', 'load', 'docker-image', '--name', this.#cluster, '--nodes', node, reference],
      { timeoutMs: CREATE_TIMEOUT_MS },
    );
  }

  override async removeCluster(): Promise<void> {
    await run(['kind', 'delete', 'cluster', '--name', this.#cluster], {
      timeoutMs: CREATE_TIMEOUT_MS,
    });
  }
}
