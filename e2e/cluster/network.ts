/**
 * The Docker network of a cluster, and the routes to its Pods.
 *
 * Owns which network a cluster has. It must never take addresses that Docker knows to be in use.
 */
import { CLUSTER_LABEL } from './docker.ts';
import { NETWORK_COUNT, networkCidr, networkIndex, networkName } from './layout.ts';
import { nodeAddress, podCidr } from './layout.ts';
import { CommandError, output, run, runAny } from './process.ts';

const OWNER_LABEL = 'dev.kata-operator.directory';

/** The index of a cluster's network, or undefined when it has none. */
export async function findNetwork(cluster: string): Promise<number | undefined> {
  const format = '{{range .IPAM.Config}}{{.Subnet}}{{end}}';
  const result = await runAny([
    ...['docker', 'network', 'inspect', '--format', format, networkName(cluster)],
  ]);
  if (result.exitCode !== 0) return undefined;
  const cidr = result.stdout.toString('utf8').trim();
  const index = networkIndex(cidr);
  if (index === undefined) {
    throw new Error(`Docker network ${networkName(cluster)} (${cidr}) is not one of ours`);
  }
  return index;
}

/** The directory that holds the certificates of a cluster, as its network's label says. */
export async function networkOwner(cluster: string): Promise<string | undefined> {
  const format = `{{index .Labels "${OWNER_LABEL}"}}`;
  const result = await runAny([
    ...['docker', 'network', 'inspect', '--format', format, networkName(cluster)],
  ]);
  const owner = result.stdout.toString('utf8').trim();
  return result.exitCode === 0 && owner !== '' ? owner : undefined;
}

/** Makes the network of a cluster with the first free index, unless it exists. */
export async function ensureNetwork(cluster: string, owner: string): Promise<number> {
  const existing = await findNetwork(cluster);
  if (existing !== undefined) return existing;
  for (let index = 0; index < NETWORK_COUNT; index++) {
    const result = await runAny([
      ...['docker', 'network', 'create', '--subnet', networkCidr(index)],
      ...['--label', `${CLUSTER_LABEL}=${cluster}`, '--label', `${OWNER_LABEL}=${owner}`],
      networkName(cluster),
    ]);
    if (result.exitCode === 0) return index;
    if (!/overlap/i.test(result.stderr)) {
      throw new CommandError(['docker', 'network', 'create'], result, 'failed');
    }
  }
  throw new Error(`all ${NETWORK_COUNT} cluster networks are in use`);
}

interface Routed {
  readonly container: string;
  readonly ordinal: number;
}

/** Gives every running container, and the machine itself, a route to the Pods of every other node. */
export async function setRoutes(
  index: number,
  nodes: readonly Routed[],
  others: readonly string[],
): Promise<void> {
  const routeOf = ({ ordinal }: Routed): string =>
    `${podCidr(index, ordinal)} ${nodeAddress(index, ordinal)}\n`;
  const containers = [...nodes.map(({ container }) => container), ...others];
  await Promise.all(
    containers.map(async (container) => {
      const routes = nodes.filter((node) => node.container !== container).map(routeOf);
      const script = 'cat > /etc/kata-operator-e2e/routes && systemctl restart apply-routes';
      await run(['docker', 'exec', '-i', container, 'sh', '-c', script], {
        input: routes.join(''),
      });
    }),
  );
  for (const node of nodes) {
    const [cidr = '', gateway = ''] = routeOf(node).trim().split(' ');
    await run(['ip', 'route', 'replace', cidr, 'via', gateway]);
  }
}

/** Removes the network; the machine's routes through it go with it. */
export async function removeNetwork(cluster: string): Promise<void> {
  const filter = `label=${CLUSTER_LABEL}=${cluster}`;
  const ids = await output(['docker', 'network', 'ls', '--quiet', '--filter', filter]);
  for (const id of ids.split('\n').filter(Boolean)) await run(['docker', 'network', 'rm', id]);
}
