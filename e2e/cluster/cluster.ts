/**
 * A Kubernetes cluster for tests and demonstrations: a control plane and nodes, each a container.
 *
 * Owns the life of a cluster: what Docker holds under its label is the truth, and `up` adds what is
 * missing. It must never change a node that exists, nor end with the process that started it.
 */
import { access, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { adminKubeconfig, ensureControlPlane } from './controlPlane.ts';
import { clusterContainers } from './docker.ts';
import { ExternalNodes, DockerNodes, type NodeAccess } from './nodeAccess.ts';
import { IMAGES } from './images.ts';
import { ensureKind, KindNodes } from './kind.ts';
import { KubeTools } from './kubeTools.ts';
import { checkName, containerName, controlPlaneName, NODE_COUNT_MAX } from './layout.ts';
import { withLock } from './lock.ts';
import { ensureNetwork, findNetwork, networkOwner, setRoutes } from './network.ts';
import { machineHasKvm, startNode, type NodeRecord, type NodeSpec } from './node.ts';
import { clusterDirectory } from './paths.ts';
import { Pki } from './pki.ts';
import { prepareMachine } from './prepare.ts';
import { Progress, stderrLog, type Log } from './progress.ts';
import { waitApiServer, waitNodesReady, type ReadyAfter } from './readiness.ts';

export type { NodeSpec } from './node.ts';

export interface ClusterSpec {
  /** Several clusters can run side by side, each by its name. */
  readonly name: string;
  readonly nodes: readonly NodeSpec[];
  /** Where progress goes; default: standard error. */
  readonly log?: Log;
  readonly signal?: AbortSignal;
}

export class Cluster extends KubeTools {
  readonly name: string;
  readonly #nodes: NodeAccess;
  readonly #progress: Progress;

  private constructor(name: string, kubeconfigPath: string, nodes: NodeAccess, progress: Progress) {
    super(kubeconfigPath);
    this.name = name;
    this.#nodes = nodes;
    this.#progress = progress;
  }

  /** Builds what is missing, starts what does not run, and returns when every node is Ready. */
  static async up(spec: ClusterSpec): Promise<Cluster> {
    checkName('cluster', spec.name);
    const progress = new Progress(spec.log ?? stderrLog);
    await prepareMachine(progress, spec.signal);
    const cluster = Cluster.#ours(spec.name, progress);
    await withLock(lockFile(spec.name), () => cluster.#bringUp(spec));
    return cluster;
  }

  /** A cluster that `up` started earlier, perhaps in another process. */
  static async attach(name: string, log: Log = stderrLog): Promise<Cluster> {
    const isThere =
      (await findNetwork(name)) !== undefined || (await clusterContainers(name)).length > 0;
    if (!isThere) throw new Error(`there is no cluster "${name}"`);
    return Cluster.#ours(name, new Progress(log));
  }

  /** Any cluster, by its kubeconfig: kubectl and helm work, what needs the nodes themselves throws. */
  static external(kubeconfigPath: string): Cluster {
    const progress = new Progress(stderrLog);
    return new Cluster('external', kubeconfigPath, new ExternalNodes(), progress);
  }

  /** A kind cluster, created where it does not exist. Untested where kind cannot run: see kind.ts. */
  static async kind(name: string, log: Log = stderrLog): Promise<Cluster> {
    const kubeconfigPath = join(clusterDirectory(`kind-${name}`), 'kubeconfig');
    const progress = new Progress(log);
    await ensureKind(name, kubeconfigPath, progress);
    return new Cluster(name, kubeconfigPath, new KindNodes(name), progress);
  }

  static #ours(name: string, progress: Progress): Cluster {
    const kubeconfigPath = join(clusterDirectory(name), 'kubeconfig');
    return new Cluster(name, kubeconfigPath, new DockerNodes(name), progress);
  }

  /** The nodes, running or stopped; empty for an external cluster. */
  nodes(): Promise<NodeRecord[]> {
    return this.#nodes.list();
  }

  /** Runs a program on a node and returns its standard output. @throws CommandError */
  exec(
    node: string,
    argv: readonly string[],
    options?: { timeoutMs?: number; input?: string },
  ): Promise<string> {
    return this.#nodes.exec(node, argv, options);
  }

  /** A file of a node, byte for byte. @throws CommandError when it cannot be read */
  readFile(node: string, path: string): Promise<Buffer> {
    return this.#nodes.readFile(node, path);
  }

  writeFile(node: string, path: string, content: string | Buffer): Promise<void> {
    return this.#nodes.writeFile(node, path, content);
  }

  /** Puts an image of the local Docker Engine into the containerd of every running node. */
  async loadImage(reference: string): Promise<void> {
    const nodes = (await this.nodes()).filter(({ running }) => running);
    await Promise.all(nodes.map(({ name }) => this.#nodes.loadImage(name, reference)));
  }

  /** Adds a node and waits until it is Ready. */
  async addNode(spec: NodeSpec): Promise<void> {
    if (!this.#nodes.canAddNodes) throw new Error(`${this.name}: not a cluster of the harness`);
    await withLock(lockFile(this.name), () => this.#bringUp({ name: this.name, nodes: [spec] }));
  }

  /** Stops a node as a power cut would: its Pods and its containerd are gone, its disk stays. */
  async stopNode(name: string): Promise<void> {
    await this.#nodes.stop(name);
  }

  /** Starts a stopped node and waits until it is Ready. */
  async startNode(name: string): Promise<void> {
    const since = new Date();
    await this.#nodes.start(name);
    await waitNodesReady(this, new Map([[name, since]]));
  }

  /** Removes a node from the machine and from the cluster. */
  async removeNode(name: string): Promise<void> {
    await this.#nodes.remove(name);
    await this.kubectl(['delete', 'node', name, '--ignore-not-found']);
  }

  /** Removes everything that carries this cluster's label, and its certificates. */
  async down(): Promise<void> {
    await this.#progress.step(`remove cluster ${this.name}`, () =>
      withLock(lockFile(this.name), async () => {
        await this.#nodes.removeCluster();
        await rm(dirname(this.kubeconfigPath), { recursive: true, force: true });
      }),
    );
  }

  async #bringUp(spec: ClusterSpec): Promise<void> {
    const directory = clusterDirectory(this.name);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await this.#removeLeftovers(directory);
    const index = await ensureNetwork(this.name, directory);
    const pki = await Pki.open(join(directory, 'pki'));
    const containers = await clusterContainers(this.name);
    await this.#progress.step('control plane', async () => {
      await ensureControlPlane(this.name, index, pki, containers);
      const text = await adminKubeconfig(this.name, index, pki);
      await writeFile(this.kubeconfigPath, text, { mode: 0o600 });
      await waitApiServer(this, spec.signal);
    });
    const names = spec.nodes.map(({ name }) => name).join(', ');
    const expected = await this.#progress.step(`nodes ${names}`, () =>
      this.#ensureNodes(index, pki, spec.nodes),
    );
    const nodes = (await this.nodes()).filter(({ running }) => running);
    const routed = nodes.map(({ name, ordinal }) => ({
      container: containerName(this.name, name),
      ordinal,
    }));
    await setRoutes(index, routed, [controlPlaneName(this.name)]);
    await this.#progress.step('images for sandboxes and tests', async () => {
      await this.loadImage(IMAGES.pause);
      await this.loadImage(IMAGES.busybox);
    });
    await this.#progress.step('nodes Ready', () => waitNodesReady(this, expected, spec.signal));
  }

  /**
   * A cluster of this name that another checkout started is left alone while that checkout has its
   * certificates; when they are gone, nobody can speak to it any more, and it is removed.
   */
  async #removeLeftovers(directory: string): Promise<void> {
    if (await hasCertificates(directory)) return;
    if ((await clusterContainers(this.name)).length === 0) return;
    const owner = await networkOwner(this.name);
    if (owner !== undefined && (await hasCertificates(owner))) {
      throw new Error(
        `cluster "${this.name}" belongs to another checkout (${owner}): choose another name, or run ` +
          `"node e2e/main.ts down --name ${this.name}" if nobody needs it`,
      );
    }
    await this.#progress.step(`remove what is left of an earlier cluster ${this.name}`, () =>
      this.#nodes.removeCluster(),
    );
  }

  /** Returns for each node from when on its Ready condition counts: a stopped one keeps its last for a while. */
  async #ensureNodes(index: number, pki: Pki, wanted: readonly NodeSpec[]): Promise<ReadyAfter> {
    const existing = await this.nodes();
    const used = new Set(existing.map(({ ordinal }) => ordinal));
    const work: Promise<void>[] = [];
    const expected = new Map<string, Date | undefined>();
    for (const node of wanted) {
      const record = existing.find(({ name }) => name === node.name);
      if (record !== undefined) {
        checkSame(record, node);
        expected.set(node.name, record.running ? undefined : new Date());
        if (!record.running) work.push(this.#nodes.start(node.name));
        continue;
      }
      if (node.kvm && !(await machineHasKvm())) {
        this.#progress.say(
          `${node.name}: this machine has no usable /dev/kvm, so neither has the node`,
        );
      }
      const ordinal = firstFree(used);
      used.add(ordinal);
      expected.set(node.name, undefined);
      work.push(startNode(this.name, index, pki, { ...node, ordinal }));
    }
    await Promise.all(work);
    return expected;
  }
}

const hasCertificates = (directory: string): Promise<boolean> =>
  access(join(directory, 'pki', 'ca.key')).then(
    () => true,
    () => false,
  );

const lockFile = (name: string): string => `${clusterDirectory(name)}.lock`;

function firstFree(used: ReadonlySet<number>): number {
  for (let ordinal = 1; ordinal <= NODE_COUNT_MAX; ordinal++) {
    if (!used.has(ordinal)) return ordinal;
  }
  throw new Error(`a cluster holds ${NODE_COUNT_MAX} nodes at most`);
}

function checkSame(record: NodeSpec, wanted: NodeSpec): void {
  if (record.containerd === wanted.containerd && record.kvm === wanted.kvm) return;
  const kind = `containerd ${record.containerd}, kvm ${String(record.kvm)}`;
  throw new Error(`node ${record.name} exists with ${kind}: remove it first, or name another`);
}
