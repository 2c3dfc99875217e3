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

/** `socket` is where this process finds it. */
export function watchSocket(socket: string): OutageWatch {
  const stopped = new AbortController();
  const watching = longestGap(socket, stopped.signal);
  return {
    async stop() {
      stopped.abort();
      return await watching;
    },
  };
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
  return watchSocket(`/proc/${pid.trim()}/root/run/containerd/containerd.sock`);
}

async function longestGap(socket: string, signal: AbortSignal): Promise<number> {
  let lastAnswerMs = performance.now();
  let failed = false;
  let longestMs = 0;
  for (;;) {
    const answered = await criVersion(socket, CALL_TIMEOUT_MS, signal).then(
      () => true,
      () => false,
    );
    // A call that was cut off by the end of the watch is no outage.
    if (signal.aborted) return longestMs;
    const nowMs = performance.now();
    if (answered && failed) longestMs = Math.max(longestMs, nowMs - lastAnswerMs);
    if (answered) lastAnswerMs = nowMs;
    failed = !answered;
    await sleep(INTERVAL_MS);
  }
}
