/**
 * What an install costs, seen from outside: time from `kubectl apply` to Ready per node, how long the
 * engine did not answer, restarts, requests to the API server, memory.
 *
 * The image is on the nodes; the artifacts are stand-ins in the real size (1.08 GB unpacked).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster } from '../e2e/cluster/cluster.ts';
import { stderrLog, type Progress } from '../e2e/cluster/progress.ts';
import { containerdStarts } from '../e2e/operator/host.ts';
import { loadOperatorImages } from '../e2e/operator/images.ts';
import { Operator, RELEASE_NAMESPACE, type KataNodeReport } from '../e2e/operator/operator.ts';
import { watchOutage } from './criOutage.ts';
import { figure, median, type Measured } from './result.ts';

const NODES = [
  { name: 'node-a', containerd: '2.4', kvm: true },
  { name: 'node-b', containerd: '1.7', kvm: true },
] as const;
const RUNS = 3;
const INSTALL_TIMEOUT_MS = 300_000;
/** One container: the helper, sleeping. */
const RESIDENT = '/kata/bin/kata-helper';

interface Sample {
  readonly node: string;
  readonly claimToReadySeconds: number;
  readonly outageMs: number;
  readonly selfReportedOutageMs: number | undefined;
  readonly restarts: number;
  readonly bytesWritten: number | undefined;
  readonly residentRssKiB: number;
  readonly steps: unknown;
}

interface Run {
  readonly applyToAvailableSeconds: number;
  readonly requestsPerNode: number;
  readonly writesPerNode: number;
  readonly controllerRssBytes: number;
  readonly nodes: readonly Sample[];
}

export async function walkingPath(progress: Progress): Promise<Measured> {
  const cluster = await Cluster.up({ name: 'bench', nodes: NODES, log: stderrLog });
  const images = await loadOperatorImages(cluster, stderrLog, 'full');
  const operator = new Operator(cluster);
  await operator.install(images);
  const runs: Run[] = [];
  for (let index = 1; index <= RUNS; index += 1) {
    runs.push(await progress.step(`run ${index} of ${RUNS}`, () => oneRun(cluster, operator)));
  }
  const samples = runs.flatMap(({ nodes }) => nodes);
  const of = (pick: (sample: Sample) => number): number => median(samples.map(pick));
  return {
    runs: RUNS,
    raw: runs,
    figures: [
      figure(
        'claim to Ready, per node (median)',
        of((s) => s.claimToReadySeconds),
        's',
        10,
      ),
      figure(
        'apply to Available, two nodes one after the other (median)',
        median(runs.map((r) => r.applyToAvailableSeconds)),
        's',
        25,
      ),
      figure(
        'CRI outage (median)',
        of((s) => s.outageMs),
        'ms',
        1000,
      ),
      figure('CRI outage (worst)', Math.max(...samples.map((s) => s.outageMs)), 'ms', 1000),
      figure(
        'engine restarts per node',
        of((s) => s.restarts),
        'restarts',
        1,
      ),
      figure(
        'requests of the controller per node',
        median(runs.map((r) => r.requestsPerNode)),
        'requests',
        16,
      ),
      figure(
        'writes about a node and its KataNode, per node',
        median(runs.map((r) => r.writesPerNode)),
        'requests',
        4,
      ),
      figure(
        'controller RSS (worst)',
        Math.max(...runs.map((r) => r.controllerRssBytes)) / 2 ** 20,
        'MiB',
        150,
      ),
      figure(
        'resident container RSS (worst)',
        Math.max(...samples.map((s) => s.residentRssKiB)) / 1024,
        'MiB',
        1,
      ),
    ],
  };
}

async function oneRun(cluster: Cluster, operator: Operator): Promise<Run> {
  await operator.remove('kata');
  const starts = await eachNode((node) => containerdStarts(cluster, node));
  const before = await controllerMetrics(cluster);
  const outages = await Promise.all(NODES.map(({ name }) => watchOutage(cluster.name, name)));
  const appliedMs = performance.now();
  await operator.apply({
    apiVersion: 'kata-operator.dev/v1alpha1',
    kind: 'KataDeployment',
    metadata: { name: 'kata' },
    // A soak is a wait that somebody has asked for: what is measured is the work.
    spec: { rollout: { soak: '0s' } },
  });
  await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
  const applyToAvailableSeconds = (performance.now() - appliedMs) / 1000;
  // The last writes and the resident container follow within a moment.
  await sleep(5_000);
  const after = await controllerMetrics(cluster);
  const reports = await operator.kataNodes();
  const nodes = await Promise.all(
    NODES.map(async ({ name }, index) => {
      const report = reports.find(({ metadata }) => metadata.name === name);
      if (report === undefined) throw new Error(`no KataNode ${name}`);
      const restarts = (await containerdStarts(cluster, name)) - (starts.get(name) ?? 0);
      const outageMs = (await outages[index]?.stop()) ?? 0;
      return sampleOf(cluster, report, restarts, outageMs);
    }),
  );
  return {
    applyToAvailableSeconds,
    requestsPerNode: (after.requests - before.requests) / NODES.length,
    writesPerNode: (after.nodeWrites - before.nodeWrites) / NODES.length,
    controllerRssBytes: after.rssBytes,
    nodes,
  };
}

async function sampleOf(
  cluster: Cluster,
  report: KataNodeReport,
  restarts: number,
  outageMs: number,
): Promise<Sample> {
  const { status, spec, metadata } = report;
  const claimedMs = Date.parse(spec.claimedAt ?? '');
  const readyMs = Date.parse(status?.since ?? '');
  return {
    node: metadata.name,
    claimToReadySeconds: (readyMs - claimedMs) / 1000,
    outageMs,
    selfReportedOutageMs: status?.outageMs,
    restarts,
    bytesWritten: status?.bytesWritten,
    residentRssKiB: await residentRssKiB(cluster, metadata.name),
    steps: status?.steps,
  };
}

async function residentRssKiB(cluster: Cluster, node: string): Promise<number> {
  const script = `for p in /proc/[0-9]*; do case "$(tr '\\0' ' ' < $p/cmdline 2>/dev/null)" in "${RESIDENT} pause "*) grep VmRSS $p/status;; esac; done`;
  const output = await cluster.exec(node, ['sh', '-c', script]);
  const sizes = [...output.matchAll(/VmRSS:\s+(\d+) kB/g)].map(([, size]) => Number(size));
  if (sizes.length === 0) throw new Error(`${node}: no resident container is running`);
  return Math.max(...sizes);
}

interface ControllerMetrics {
  /** All requests but those of the lease, which go on whatever happens. */
  readonly requests: number;
  readonly nodeWrites: number;
  readonly rssBytes: number;
}

/** Summed over the replicas; memory is that of the larger one. */
async function controllerMetrics(cluster: Cluster): Promise<ControllerMetrics> {
  const names = await cluster.kubectl([
    '-n',
    RELEASE_NAMESPACE,
    'get',
    'pods',
    '-l',
    'app.kubernetes.io/component=controller',
    '-o',
    'jsonpath={.items[*].metadata.name}',
  ]);
  const totals = { requests: 0, nodeWrites: 0, rssBytes: 0 };
  for (const name of names.split(' ').filter(Boolean)) {
    const text = await cluster.kubectl([
      'get',
      '--raw',
      `/api/v1/namespaces/${RELEASE_NAMESPACE}/pods/${name}:8080/proxy/metrics`,
    ]);
    for (const [, method, resource, count] of text.matchAll(
      /^rest_client_requests_total\{method="(\w+)",resource="(\w*)",code="\d+"\} (\d+)/gm,
    )) {
      if (resource !== 'leases') totals.requests += Number(count);
      if (method === 'PATCH' && (resource === 'nodes' || resource === 'katanodes'))
        totals.nodeWrites += Number(count);
    }
    const rss = /^process_resident_memory_bytes (\S+)/m.exec(text)?.[1];
    totals.rssBytes = Math.max(totals.rssBytes, Number(rss ?? 0));
  }
  return totals;
}

async function eachNode(look: (node: string) => Promise<number>): Promise<Map<string, number>> {
  return new Map(
    await Promise.all(NODES.map(async ({ name }) => [name, await look(name)] as const)),
  );
}
