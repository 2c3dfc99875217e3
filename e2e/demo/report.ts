/** The end of the demonstration, for people; `demo-report.json` holds the same for machines. */
import type { IsolationVerdict } from '../../src/kata/isolation.ts';
import { NO_KVM } from '../operator/kvm.ts';

export interface DemoReport {
  /** What ran in the sandbox in place of a virtual machine, when it was not one. */
  readonly runtime: string;
  /** Whether the nodes have KVM; without, they were taken in by `nodes.requireKVM: false`. */
  readonly kvm: boolean;
  readonly kernels: { readonly node: string; readonly sandbox: string };
  readonly isolation: IsolationVerdict;
  readonly applyToReadySeconds: number;
  readonly totalSeconds: number;
  readonly nodes: readonly {
    readonly name: string;
    readonly phase: string;
    readonly engine: string;
    readonly handlers: readonly string[];
    readonly containerdRestarts: number;
    readonly outageMs: number | null;
  }[];
  readonly kubeconfig: string;
}

export function printReport(report: DemoReport): void {
  const ready = report.nodes.filter(({ phase }) => phase === 'Ready').length;
  const lines = [
    '',
    '──────── kata-operator demo ────────',
    `Nodes Ready             ${ready} of ${report.nodes.length}`,
    ...report.nodes.map(
      ({ name, engine, phase, containerdRestarts, outageMs }) =>
        `  ${name.padEnd(10)} ${engine.padEnd(18)} ${phase}, containerd restarted ${containerdRestarts} time(s)${outageMs === null ? '' : `, CRI away ${Math.round(outageMs)} ms`}`,
    ),
    `Handlers                ${[...new Set(report.nodes.flatMap(({ handlers }) => handlers))].join(', ')}`,
    `Kernel of the node      ${report.kernels.node}`,
    `Kernel in the sandbox   ${report.kernels.sandbox}   (${report.isolation.isolated ? 'isolated' : 'NOT ISOLATED'})`,
    `Apply to Ready          ${report.applyToReadySeconds} s`,
    `Runtime                 ${report.runtime}`,
    ...(report.kvm ? [] : [`KVM                     ${NO_KVM} (nodes.requireKVM: false)`]),
    '',
    'Look around:',
    `  export KUBECONFIG=${report.kubeconfig}`,
    '  kubectl get katad,katanodes',
    '  kubectl describe katad kata',
    'Take it down again:',
    '  make demo-down',
    '',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
