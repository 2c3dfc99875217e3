/**
 * The harness at the command line: `node e2e/main.ts up|down|status|build|kubeconfig`.
 *
 * Owns argument parsing and exit codes. It must never print anything but the asked-for value to standard
 * output; progress goes to standard error.
 */
import { parseArgs } from 'node:util';
import { Cluster, type NodeSpec } from './cluster/cluster.ts';
import { prepareMachine } from './cluster/prepare.ts';
import { Progress, stderrLog } from './cluster/progress.ts';

const DEFAULT_NODES = 'node-a:2.4:kvm,node-b:1.7:kvm';

const USAGE = `node e2e/main.ts COMMAND [--name demo] [--nodes NODE,NODE,...]

  up          builds what is missing and starts the cluster; run again, it adds what is missing
  down        removes the cluster, and nothing else
  status      prints the nodes
  build       builds binaries and images only
  kubeconfig  prints the path of the kubeconfig

A NODE is NAME:CONTAINERD[:kvm], for example node-a:2.4:kvm,node-b:1.7 (default: ${DEFAULT_NODES}).
`;

/** Parses `node-a:2.4:kvm,node-b:1.7`. @throws Error that names the part that is wrong */
export function parseNodes(text: string): NodeSpec[] {
  return text.split(',').map((part) => {
    const [name = '', containerd, kvm, ...rest] = part.split(':');
    if (name === '' || (containerd !== '2.4' && containerd !== '1.7')) {
      throw new Error(
        `--nodes: "${part}" is not NAME:2.4 or NAME:1.7, with :kvm behind it if wanted`,
      );
    }
    if (rest.length > 0 || (kvm !== undefined && kvm !== 'kvm')) {
      throw new Error(`--nodes: "${part}": only "kvm" may follow the containerd release`);
    }
    return { name, containerd, kvm: kvm === 'kvm' };
  });
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      name: { type: 'string', default: 'demo' },
      nodes: { type: 'string', default: DEFAULT_NODES },
      help: { type: 'boolean', default: false },
    },
  });
  const [command] = positionals;
  if (values.help || command === undefined) {
    process.stderr.write(USAGE);
    return values.help ? 0 : 2;
  }
  return runCommand(command, values.name, parseNodes(values.nodes));
}

async function runCommand(command: string, name: string, nodes: NodeSpec[]): Promise<number> {
  const progress = new Progress(stderrLog);
  switch (command) {
    case 'up': {
      const cluster = await Cluster.up({ name, nodes });
      progress.say(`cluster ${name} is up: export KUBECONFIG=${cluster.kubeconfigPath}`);
      return 0;
    }
    case 'down':
      await (await Cluster.attach(name)).down();
      return 0;
    case 'status':
      process.stdout.write(
        await (await Cluster.attach(name)).kubectl(['get', 'nodes', '-o', 'wide']),
      );
      return 0;
    case 'build':
      await prepareMachine(progress);
      return 0;
    case 'kubeconfig':
      process.stdout.write(`${(await Cluster.attach(name)).kubeconfigPath}\n`);
      return 0;
    default:
      process.stderr.write(`unknown command "${command}"\n\n${USAGE}`);
      return 2;
  }
}

if (import.meta.main) {
  main().then(
    (code) => {
      process.exitCode = code;
    },
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
      process.exitCode = 1;
    },
  );
}
