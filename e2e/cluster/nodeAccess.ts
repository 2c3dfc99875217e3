/**
 * Work on nodes themselves, below Kubernetes: programs, files, images, power.
 *
 * Owns the difference between nodes that are containers of ours and nodes of somebody's cluster. It must
 * never reach a machine that is not one of our containers.
 */
import { removeCgroups } from './cgroups.ts';
import { clusterContainers, imageId, removeContainer } from './docker.ts';
import { containerName } from './layout.ts';
import { removeNetwork } from './network.ts';
import { listNodes, type NodeRecord } from './node.ts';
import { pipe, run } from './process.ts';
import { waitUntil } from './wait.ts';

export interface ExecOptions {
  readonly timeoutMs?: number;
  readonly input?: string;
}

export interface NodeAccess {
  /** Whether the harness can make nodes here. */
  readonly canAddNodes: boolean;
  list(): Promise<NodeRecord[]>;
  exec(node: string, argv: readonly string[], options?: ExecOptions): Promise<string>;
  readFile(node: string, path: string): Promise<Buffer>;
  writeFile(node: string, path: string, content: string | Buffer): Promise<void>;
  loadImage(node: string, reference: string): Promise<void>;
  stop(node: string): Promise<void>;
  start(node: string): Promise<void>;
  remove(node: string): Promise<void>;
  /** Removes the whole cluster from the machine. */
  removeCluster(): Promise<void>;
}

/** On an image in containerd: the id it had in Docker when it was loaded. */
const SOURCE_LABEL = 'dev.kata-operator.source-id';

export class DockerNodes implements NodeAccess {
  readonly canAddNodes: boolean = true;
  readonly #cluster: string;
  readonly #containerOf: (node: string) => string;

  constructor(cluster: string, containerOf = (node: string) => containerName(cluster, node)) {
    this.#cluster = cluster;
    this.#containerOf = containerOf;
  }

  list(): Promise<NodeRecord[]> {
    return listNodes(this.#cluster);
  }

  async exec(node: string, argv: readonly string[], options: ExecOptions = {}): Promise<string> {
    const result = await run([...this.#prefix(node), ...argv], options);
    return result.stdout.toString('utf8');
  }

  async readFile(node: string, path: string): Promise<Buffer> {
    return (await run([...this.#prefix(node), 'cat', path])).stdout;
  }

  async writeFile(node: string, path: string, content: string | Buffer): Promise<void> {
    const script = 'cat > "$1.new" && mv "$1.new" "$1"';
    await run([...this.#prefix(node), 'sh', '-c', script, 'sh', path], { input: content });
  }

  async loadImage(node: string, reference: string): Promise<void> {
    const id = await imageId(reference);
    const name = fullReference(reference);
    const ctr = [...this.#prefix(node), 'ctr', '--namespace', 'k8s.io', 'images'];
    const known = await run([...ctr, 'ls', `name==${name}`]);
    if (known.stdout.includes(`${SOURCE_LABEL}=${id}`)) return;
    const options = { timeoutMs: 10 * 60_000 };
    await pipe(['docker', 'save', reference], [...ctr, 'import', '--digests=false', '-'], options);
    await run([...ctr, 'label', name, `${SOURCE_LABEL}=${id}`]);
  }

  async stop(node: string): Promise<void> {
    await run(['docker', 'kill', this.#containerOf(node)]);
  }

  async start(node: string): Promise<void> {
    await run(['docker', 'start', this.#containerOf(node)], { timeoutMs: 60_000 });
    await waitUntil(
      `containerd of ${node} active`,
      async () => ({ value: await this.exec(node, ['systemctl', 'is-active', 'containerd']) }),
      { timeoutMs: 60_000 },
    );
  }

  async remove(node: string): Promise<void> {
    await removeContainer(this.#containerOf(node));
    await removeCgroups(this.#cluster, [node]);
  }

  async removeCluster(): Promise<void> {
    const nodes = await this.list();
    const containers = await clusterContainers(this.#cluster);
    await Promise.all(containers.map(({ name }) => removeContainer(name)));
    await removeNetwork(this.#cluster);
    await removeCgroups(
      this.#cluster,
      nodes.map(({ name }) => name),
    );
  }

  #prefix(node: string): string[] {
    return ['docker', 'exec', '--interactive', this.#containerOf(node)];
  }
}

/** containerd names images in full, Docker leaves out its own registry. */
export function fullReference(reference: string): string {
  const [first = ''] = reference.split('/');
  const isHost = reference.includes('/') && /[.:]|^localhost$/.test(first);
  if (isHost) return reference;
  return reference.includes('/') ? `docker.io/${reference}` : `docker.io/library/${reference}`;
}

export class ExternalNodes implements NodeAccess {
  readonly canAddNodes = false;
  list(): Promise<NodeRecord[]> {
    return Promise.resolve([]);
  }
  exec(): Promise<string> {
    return refuse('exec');
  }
  readFile(): Promise<Buffer> {
    return refuse('readFile');
  }
  writeFile(): Promise<void> {
    return refuse('writeFile');
  }
  loadImage(): Promise<void> {
    return refuse('loadImage');
  }
  stop(): Promise<void> {
    return refuse('stopNode');
  }
  start(): Promise<void> {
    return refuse('startNode');
  }
  remove(): Promise<void> {
    return refuse('removeNode');
  }
  removeCluster(): Promise<void> {
    return refuse('down');
  }
}

function refuse(method: string): Promise<never> {
  return Promise.reject(
    new Error(
      `${method} needs the nodes themselves, and this cluster is known by its kubeconfig only: ` +
        'run against a cluster started by "node e2e/main.ts up"',
    ),
  );
}
