/**
 * The host that is worked on: by hand its root is `/`, in a Pod it is a mount of it.
 * Every path that leaves this program in a file or message is a path on the host, never under the mount.
 */
import { join } from 'node:path';

export interface Host {
  /** Directory where the root of the host is found (`/` or `/host`). */
  readonly root: string;
  /** Where this process finds a path of the host. */
  at(hostPath: string): string;
}

export function hostAt(root: string): Host {
  return { root, at: (hostPath) => join(root, hostPath) };
}
