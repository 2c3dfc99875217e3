/**
 * When a cluster can be used: its API server answers, its nodes are Ready.
 *
 * Owns these two waits. It must never take the last word of a node that was stopped for news.
 */
import { z } from 'zod';
import type { KubeTools } from './kubeTools.ts';
import { waitUntil, type Check } from './wait.ts';

/** Node name → from when on its Ready condition counts; undefined: any time. */
export type ReadyAfter = ReadonlyMap<string, Date | undefined>;

const READY_TIMEOUT_MS = 180_000;

const NodeStatus = z.object({
  status: z.object({
    conditions: z.array(
      z.object({
        type: z.string(),
        status: z.string(),
        message: z.string().default(''),
        lastHeartbeatTime: z.string().default(''),
      }),
    ),
  }),
});

/** Waits until the API server says that it is ready. */
export async function waitApiServer(tools: KubeTools, signal?: AbortSignal): Promise<void> {
  await waitUntil(
    'API server ready',
    async () => ({
      value: await tools.kubectl(['get', '--raw', '/readyz'], { timeoutMs: 10_000 }),
    }),
    { timeoutMs: READY_TIMEOUT_MS, signal },
  );
}

/** Waits until every named node is Ready. */
export async function waitNodesReady(
  tools: KubeTools,
  nodes: ReadyAfter,
  signal?: AbortSignal,
): Promise<void> {
  await Promise.all(
    [...nodes].map(([name, after]) =>
      waitUntil(`node ${name} Ready`, () => checkReady(tools, name, after), {
        timeoutMs: READY_TIMEOUT_MS,
        signal,
      }),
    ),
  );
}

async function checkReady(tools: KubeTools, name: string, after?: Date): Promise<Check<true>> {
  const text = await tools.kubectl(['get', 'node', name, '--output', 'json']);
  const { conditions } = NodeStatus.parse(JSON.parse(text)).status;
  const ready = conditions.find(({ type }) => type === 'Ready');
  if (ready?.status !== 'True') return { waitingFor: ready?.message ?? 'a Ready condition' };
  // The API keeps whole seconds.
  const isOld = after !== undefined && Date.parse(ready.lastHeartbeatTime) + 1000 < after.getTime();
  return isOld ? { waitingFor: `news since ${ready.lastHeartbeatTime}` } : { value: true };
}
