/**
 * Whether the nodes can run virtual machines. The stand-in needs none: where there is no KVM (an ordinary virtual
 * machine of a cloud, most CI), what is not about KVM runs all the same, with `nodes.requireKVM: false`.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from '../cluster/cluster.ts';
import { SAMPLES } from './operator.ts';

export const NO_KVM = 'no usable /dev/kvm on every node; the stand-in needs none';

/** True when every one of these nodes can open its /dev/kvm. */
export async function haveKvm(cluster: Cluster, nodes: readonly string[]): Promise<boolean> {
  const script = 'test -c /dev/kvm && (: </dev/kvm) 2>/dev/null && echo yes || echo no';
  const answers = nodes.map(async (node) => cluster.exec(node, ['sh', '-c', script]));
  return (await Promise.all(answers)).every((answer) => answer.trim() === 'yes');
}

/**
 * The sample that users start with: without its soak, which only makes one wait, and, where the nodes have no KVM,
 * without the check for it.
 */
export async function applySampleDeployment(cluster: Cluster, kvm: boolean): Promise<void> {
  const sample = withoutSoak(await readFile(join(SAMPLES, 'kataDeployment.yaml'), 'utf8'));
  const input = kvm ? sample : withoutKvmCheck(sample);
  await cluster.kubectl(['apply', '-f', '-'], { input });
}

/** Throws when the manifest has no soak of its own. */
export function withoutSoak(manifest: string): string {
  const changed = manifest.replace(/^(\s*soak:) 60s$/m, '$1 0s');
  if (changed === manifest) throw new Error('the manifest has no line "soak: 60s"');
  return changed;
}

/** Throws when the manifest does not ask for KVM: then it is not the one that was meant. */
export function withoutKvmCheck(manifest: string): string {
  const changed = manifest.replace(/^(\s*requireKVM:) true$/m, '$1 false');
  if (changed === manifest) throw new Error('the manifest has no line "requireKVM: true"');
  return changed;
}
