/** Writes only while leading: the check is made when the request is written to its socket, not before. */
import type { KubeClient } from './client.ts';
import { ApiError } from './errors.ts';

/** A client whose every mutating request is refused, at the last instant, unless `isLeader()`. */
export function fenced(client: KubeClient, isLeader: () => boolean): KubeClient {
  return client.guardedBy(() => {
    if (isLeader()) return;
    throw new ApiError({
      method: 'WRITE',
      path: '*',
      status: 0,
      reason: 'NotLeader',
      message: 'the lease is not held; nothing was sent',
      retryable: false,
    });
  });
}
