/**
 * Where each engine has its socket, configuration and unit when nothing says otherwise. A table: reads nothing.
 */
import type { EngineName } from './engine.ts';

export const DEFAULTS = {
  containerd: {
    socket: '/run/containerd/containerd.sock',
    configPath: '/etc/containerd/config.toml',
    unit: 'containerd.service',
  },
  crio: {
    socket: '/run/crio/crio.sock',
    configPath: '/etc/crio/crio.conf',
    unit: 'crio.service',
  },
} as const;
const CRIO_DROP_INS = '/etc/crio/crio.conf.d';

/** `given` is the directory that the engine was started with. */
export function dropIns(name: EngineName, given: string | undefined): { dropInDirectory?: string } {
  return name === 'crio' ? { dropInDirectory: given ?? CRIO_DROP_INS } : {};
}
