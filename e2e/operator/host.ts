/**
 * What can be seen on a node itself, for judging the operator from outside: files, restarts, kernel.
 */
import { createHash } from 'node:crypto';
import type { Cluster } from '../cluster/cluster.ts';

export const CONTAINERD_CONFIG = '/etc/containerd/config.toml';

export async function hostKernel(cluster: Cluster, node: string): Promise<string> {
  return (await cluster.exec(node, ['uname', '-r'])).trim();
}

export async function sha256OfFile(cluster: Cluster, node: string, path: string): Promise<string> {
  return createHash('sha256')
    .update(await cluster.readFile(node, path))
    .digest('hex');
}

/** How often systemd has started containerd since the node booted. */
export async function containerdStarts(cluster: Cluster, node: string): Promise<number> {
  const journal = await cluster.exec(node, [
    'journalctl',
    '-u',
    'containerd',
    '-o',
    'cat',
    '--no-pager',
    '_PID=1',
  ]);
  return journal.split('\n').filter((line) => line.startsWith('Started ')).length;
}

/** True when the path exists on the node. */
export async function existsOnNode(cluster: Cluster, node: string, path: string): Promise<boolean> {
  const output = await cluster.exec(node, [
    'sh',
    '-c',
    'test -e "$1" && echo yes || echo no',
    'sh',
    path,
  ]);
  return output.trim() === 'yes';
}
