/**
 * Removes the cgroups that nodes leave behind on the machine.
 *
 * Owns directories named by layout.cgroupRoot. It must never remove one that holds a process: the kernel
 * refuses that, and so the harness does not try by force.
 */
import { readdir, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupRoot } from './layout.ts';

const CGROUPS = '/sys/fs/cgroup';

/** Removes the cgroup roots of these nodes from every hierarchy; busy ones stay. */
export async function removeCgroups(cluster: string, nodes: readonly string[]): Promise<void> {
  const unified = await stat(join(CGROUPS, 'cgroup.controllers')).then(
    () => true,
    () => false,
  );
  const hierarchies = unified
    ? [CGROUPS]
    : (await readdir(CGROUPS).catch(() => [])).map((name) => join(CGROUPS, name));
  for (const hierarchy of hierarchies) {
    for (const node of nodes) await removeTree(join(hierarchy, cgroupRoot(cluster, node)));
  }
}

async function removeTree(directory: string): Promise<void> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (entry.isDirectory()) await removeTree(join(directory, entry.name));
  }
  await rmdir(directory).catch(() => undefined);
}
