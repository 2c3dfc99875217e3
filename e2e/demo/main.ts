/**
 * `make demo`: from nothing to a Pod in a Kata sandbox, on a real cluster, with a report at the end.
 *
 * Owns the order of what a user would do by hand, and the report. The runtime in the sandboxes is a
 * stand-in (gVisor behind the name of Kata's shim), and the report says so.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { judgeIsolation } from '../../src/kata/isolation.ts';
import { Cluster } from '../cluster/cluster.ts';
import { Progress, stderrLog } from '../cluster/progress.ts';
import { SAMPLES, Operator } from '../operator/operator.ts';
import { containerdStarts, hostKernel } from '../operator/host.ts';
import { loadOperatorImages } from '../operator/images.ts';
import { applySampleDeployment, haveKvm, NO_KVM } from '../operator/kvm.ts';
import { printReport, type DemoReport } from './report.ts';

const NODES = [
  { name: 'node-a', containerd: '2.4', kvm: true },
  { name: 'node-b', containerd: '1.7', kvm: true },
] as const;
const REPORT_FILE = join(import.meta.dirname, '../../demo-report.json');
const POD = 'kata-fc';

async function demo(name: string, kind: boolean): Promise<void> {
  const startedMs = performance.now();
  const progress = new Progress(stderrLog);
  const cluster = kind
    ? await Cluster.kind(name, stderrLog)
    : await Cluster.up({ name, nodes: NODES, log: stderrLog });
  const names = (await cluster.nodes()).map((node) => node.name);
  const images = await progress.step('images of the operator', () =>
    loadOperatorImages(cluster, stderrLog),
  );
  const operator = new Operator(cluster);
  const startsBefore = await eachNode(names, (node) => containerdStarts(cluster, node));

  await progress.step('helm install kata-operator', () => operator.install(images));
  const kvm = await haveKvm(cluster, names);
  if (!kvm) progress.say(`${NO_KVM}: nodes.requireKVM of the sample is set to false`);
  progress.say('rollout.soak of the sample is set to 0s: a demonstration need not wait a minute');
  const appliedMs = performance.now();
  await progress.step('kubectl apply -f manifests/samples/kataDeployment.yaml', async () => {
    await applySampleDeployment(cluster, kvm);
    await operator.waitAvailable('kata', 300_000);
  });
  const applyToReadyMs = performance.now() - appliedMs;

  const sandboxKernel = await progress.step(
    'kubectl apply -f manifests/samples/pod-kata-fc.yaml',
    async () => {
      await operator.deletePod('default', POD);
      await cluster.kubectl(['apply', '-f', join(SAMPLES, 'pod-kata-fc.yaml')]);
      await operator.waitPod('default', POD, 'Succeeded');
      return kernelOf(await cluster.kubectl(['logs', POD]));
    },
  );
  const podNode = (
    await cluster.kubectl(['get', 'pod', POD, '-o', 'jsonpath={.spec.nodeName}'])
  ).trim();
  const nodeKernel = await hostKernel(cluster, podNode);
  const startsAfter = await eachNode(names, (node) => containerdStarts(cluster, node));
  const nodes = await operator.kataNodes();
  const report: DemoReport = {
    runtime: 'stand-in (gVisor behind the name of the Kata shim)',
    kvm,
    kernels: { node: nodeKernel, sandbox: sandboxKernel },
    isolation: judgeIsolation(nodeKernel, sandboxKernel),
    applyToReadySeconds: round(applyToReadyMs),
    totalSeconds: round(performance.now() - startedMs),
    nodes: nodes.map(({ metadata, status }) => ({
      name: metadata.name,
      phase: status?.phase ?? 'Unknown',
      engine:
        status?.engine === undefined ? 'unknown' : `${status.engine.name} ${status.engine.version}`,
      handlers: status?.handlers ?? [],
      containerdRestarts:
        (startsAfter.get(metadata.name) ?? 0) - (startsBefore.get(metadata.name) ?? 0),
      outageMs: status?.outageMs ?? null,
    })),
    kubeconfig: cluster.kubeconfigPath,
  };
  await writeFile(REPORT_FILE, `${JSON.stringify(report, null, 2)}\n`);
  printReport(report);
  if (!report.isolation.isolated) throw new Error(report.isolation.explanation);
}

async function eachNode(
  nodes: readonly string[],
  look: (node: string) => Promise<number>,
): Promise<Map<string, number>> {
  return new Map(await Promise.all(nodes.map(async (name) => [name, await look(name)] as const)));
}

/** `Linux host 4.19.0 #1 …`: the third word, as `uname -r` prints it. */
function kernelOf(unameOutput: string): string {
  return unameOutput.trim().split(/\s+/)[2] ?? '';
}

function round(ms: number): number {
  return Math.round(ms / 100) / 10;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      name: { type: 'string', default: 'demo' },
      cluster: { type: 'string', default: 'local' },
    },
  });
  const kind = values.cluster === 'kind';
  if (positionals[0] === 'down') {
    await (kind ? await Cluster.kind(values.name) : await Cluster.attach(values.name)).down();
  } else {
    await demo(values.name, kind);
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
