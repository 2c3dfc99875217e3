/**
 * How long a node's engine does not answer, as a client on the node would see it: CRI `Version` on a fresh
 * connection every 5 ms. The longest gap between an answer and the next answer is the outage.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { containerName } from '../e2e/cluster/layout.ts';
import { output } from '../e2e/cluster/process.ts';
import { criVersion } from '../src/node/engine/cri/client.ts';

const INTERVAL_MS = 5;
const CALL_TIMEOUT_MS = 1_000;

export interface OutageWatch {
  /** Ends the watch; the longest gap in milliseconds. */
  stop(): Promise<number>;
}

export async function watchOutage(cluster: string, node: string): Promise<OutageWatch> {
  const pid = await output([
    'docker',
    'inspect',
    '--format',
    '{{.State.Pid}}',
    containerName(cluster, node),
  ]);
  // The node is a container of this machine: its sockets are reachable below its root.
  const socket = `/proc/${pid.trim()}/root/run/containerd/containerd.sock`;
  const stopped = new AbortController();
  const watching = longestGap(socket, stopped.signal);
  return {
    async stop() {
      stopped.abort();
      return await watching;
    },
  };
}

async function longestGap(socket: string, signal: AbortSignal): Promise<number> {
  let lastAnswerMs = performance.now();
  let failedSince = false;
  let longestMs = 0;
  while (!signal.aborted) {
    const answered = await criVersion(socket, CALL_TIMEOUT_MS, signal).then(
      () => true,
      () => false,
    );
    const nowMs = performance.now();
    if (answered) {
      if (failedSince) longestMs = Math.max(longestMs, nowMs - lastAnswerMs);
      failedSince = false;
      lastAnswerMs = nowMs;
    } else if (!signal.aborted) {
      failedSince = true;
    }
    await sleep(INTERVAL_MS);
  }
  return longestMs;
}
