/** The handlers that an engine serves, as it says itself over CRI. */
import { servedBy as reportedBy } from './containerd/loaded.ts';
import type { CriStatus } from './cri/client.ts';
import { crioRuntimeNames } from './crio/loaded.ts';

/** Names, sorted. */
export function servedBy(status: CriStatus): string[] {
  const reported = reportedBy(status);
  return reported.length > 0 ? reported : crioRuntimeNames(status).toSorted();
}
