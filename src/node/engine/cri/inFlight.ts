/**
 * What the engine is about to create, as far as it can be seen from outside.
 *
 * Seen: containers that are created and not started (CRI), and with containerd sandboxes whose container exists
 * while CRI does not list them yet, because RunPodSandbox has not returned. Not seen: a sandbox whose network is
 * still being set up, and one that a shim keeps by itself (sandboxer "shim"); kubelet repeats these after a restart.
 */
import { z } from 'zod';
import { CRI, type CallOptions, callEngine } from './client.ts';
import { encodeMessage, type MessageShape } from './wire.ts';

const CONTAINER: MessageShape = {
  1: { name: 'id', type: 'string' },
  6: { name: 'state', type: 'int64' },
  7: { name: 'createdAtNs', type: 'int64' },
};
const CONTAINERS: MessageShape = {
  1: { name: 'containers', type: { message: CONTAINER }, repeated: true },
};
const SANDBOXES: MessageShape = {
  1: {
    name: 'sandboxes',
    type: { message: { 1: { name: 'id', type: 'string' } } },
    repeated: true,
  },
};
/** containerd's own service; field numbers from its API, `created_at` is a google.protobuf.Timestamp. */
const NATIVE_CONTAINERS: MessageShape = {
  1: {
    name: 'containers',
    type: {
      message: {
        1: { name: 'id', type: 'string' },
        8: {
          name: 'createdAt',
          type: { message: { 1: { name: 'seconds', type: 'int64' } } },
        },
      },
    },
    repeated: true,
  },
};
const FILTER: MessageShape = { 1: { name: 'filter', type: 'string' } };
const SANDBOX_FILTER = 'labels."io.cri-containerd.kind"==sandbox';

/** CONTAINER_CREATED; zero is not on the wire. */
const CREATED = 0;
/** What is older does not move: waiting for it would be in vain. */
const FRESH_MS = 120_000;

const id = z.string().default('');
const containers = z.object({
  containers: z.array(
    z.object({ id, state: z.number().default(CREATED), createdAtNs: z.number().default(0) }),
  ),
});
const sandboxes = z.object({ sandboxes: z.array(z.object({ id })) });
const nativeContainers = z.object({
  containers: z.array(
    z.object({
      id,
      createdAt: z.object({ seconds: z.number().default(0) }).default({ seconds: 0 }),
    }),
  ),
});

/** Ids of what is being created. `isContainerd`: its own service can be asked as well. Throws CriUnavailable. */
export async function inFlight(
  socket: string,
  isContainerd: boolean,
  options: CallOptions,
): Promise<string[]> {
  const since = Date.now() - FRESH_MS;
  const listed = containers.parse(
    await callEngine(socket, `${CRI}/ListContainers`, Buffer.alloc(0), CONTAINERS, options),
  );
  const found = listed.containers
    .filter(({ state, createdAtNs }) => state === CREATED && createdAtNs / 1e6 > since)
    .map((container) => container.id);
  return isContainerd ? [...found, ...(await startingSandboxes(socket, since, options))] : found;
}

/** The containers come first: a sandbox that is ready in between is then listed by CRI. */
async function startingSandboxes(
  socket: string,
  since: number,
  options: CallOptions,
): Promise<string[]> {
  const native = nativeContainers.parse(
    await callEngine(
      socket,
      'containerd.services.containers.v1.Containers/List',
      encodeMessage(FILTER, { filter: SANDBOX_FILTER }),
      NATIVE_CONTAINERS,
      { ...options, headers: { 'containerd-namespace': 'k8s.io' } },
    ),
  );
  const fresh = native.containers.filter(({ createdAt }) => createdAt.seconds * 1000 > since);
  if (fresh.length === 0) return [];
  const known = sandboxes.parse(
    await callEngine(socket, `${CRI}/ListPodSandbox`, Buffer.alloc(0), SANDBOXES, options),
  );
  const ready = new Set(known.sandboxes.map((sandbox) => sandbox.id));
  return fresh.map((container) => container.id).filter((container) => !ready.has(container));
}
