/** What the tests of the guard ask of a host. */
import type { HandlerRegistration } from '../../../src/node/engine/index.ts';

export const WANTED = { type: 'Auto', restart: 'WhenNeeded' } as const;

export const KATA: readonly HandlerRegistration[] = ['kata-fc', 'kata-qemu'].map((handler) => ({
  handler,
  shimPath: '/opt/kata/versions/0123/bin/containerd-shim-kata-v2',
  configPath: `/opt/kata/revisions/r1/${handler}/configuration.toml`,
  podAnnotations: [],
}));
