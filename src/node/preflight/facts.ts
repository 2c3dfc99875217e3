/**
 * Facts of the machine that a result reports: identity, kernel, KVM. Only reads, and never fails: what
 * cannot be learned is left out.
 */
import { readFile } from 'node:fs/promises';
import type { NodeFacts } from '../../crds/nodeResult.ts';
import type { Host } from '../host/host.ts';

export async function platformFacts(
  host: Host,
  arch: string,
  kernel: string,
): Promise<Pick<NodeFacts, 'arch' | 'kernel' | 'machineId' | 'bootId'>> {
  const machineId = await firstLine(host.at('/etc/machine-id'));
  const bootId = await firstLine(host.at('/proc/sys/kernel/random/boot_id'));
  return {
    arch,
    kernel,
    ...(machineId === undefined ? {} : { machineId }),
    ...(bootId === undefined ? {} : { bootId }),
  };
}

async function firstLine(at: string): Promise<string | undefined> {
  const text = await readFile(at, 'utf8').catch(() => '');
  const line = text.split('\n', 1)[0]?.trim() ?? '';
  return line === '' ? undefined : line.slice(0, 128);
}
