/**
 * Sandboxes asked of an engine over CRI, as kubelet does, without kubelet. They share the host's network, so that no
 * network plugin is needed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { pipe } from '../../../e2e/cluster/process.ts';
import { CRI, callEngine } from '../../../src/node/engine/cri/client.ts';
import type { MessageShape } from '../../../src/node/engine/cri/wire.ts';
import type { SystemdHost } from './systemdHost.ts';

const SOCKET = '/run/containerd/containerd.sock';
const CALL_TIMEOUT_MS = 60_000;
/** NamespaceMode NODE of CRI. */
const OF_THE_NODE = 2;
/** SANDBOX_READY is zero, and not on the wire. */
const READY = 0;

const ID: MessageShape = { 1: { name: 'id', type: 'string' } };
const SANDBOXES: MessageShape = {
  1: {
    name: 'sandboxes',
    type: { message: { ...ID, 3: { name: 'state', type: 'int64' } } },
    repeated: true,
  },
};
const created = z.object({ id: z.string().min(1) });
const listed = z.object({
  sandboxes: z.array(z.object({ id: z.string(), state: z.number().default(READY) })),
});

/** Brings a local image of Docker to containerd. */
export async function loadImage(host: SystemdHost, reference: string): Promise<void> {
  await pipe(
    ['docker', 'save', reference],
    ['docker', 'exec', '--interactive', host.name, 'ctr', '-n', 'k8s.io', 'images', 'import', '-'],
  );
}

/** Returns its id. */
export async function runSandbox(
  host: SystemdHost,
  handler: string,
  name: string,
): Promise<string> {
  const namespaces = field(1, [field(1, OF_THE_NODE)]);
  const config = [
    field(1, [field(1, name), field(2, `uid-${name}`), field(3, 'default')]),
    field(2, name),
    field(3, `/var/log/pods/${name}`),
    field(8, [field(2, [namespaces])]),
  ];
  const request = Buffer.concat([field(1, config), field(2, handler)]);
  return created.parse(await call(host, 'RunPodSandbox', request, ID)).id;
}

export async function readySandboxes(host: SystemdHost): Promise<string[]> {
  const { sandboxes } = listed.parse(
    await call(host, 'ListPodSandbox', Buffer.alloc(0), SANDBOXES),
  );
  return sandboxes.filter(({ state }) => state === READY).map(({ id }) => id);
}

/** Stops and removes it, and returns when its shim is gone. */
export async function removeSandbox(host: SystemdHost, id: string): Promise<void> {
  await call(host, 'StopPodSandbox', field(1, id), {});
  await call(host, 'RemovePodSandbox', field(1, id), {});
  while ((await shimOf(host, id)) !== undefined) await sleep(50);
}

/** Process id in the host and program of the shim of a sandbox. */
export async function shimOf(
  host: SystemdHost,
  id: string,
): Promise<{ readonly pid: string; readonly program: string } | undefined> {
  const found = await host.sh(
    `for pid in $(pgrep -f -- '-id ${id}'); do program=$(readlink /proc/$pid/exe); case $program in *containerd-shim*) echo "$pid $program";; esac; done`,
  );
  const [pid, program] = found.split('\n', 1)[0]?.split(' ') ?? [];
  return pid === undefined || program === undefined ? undefined : { pid, program };
}

function call(
  host: SystemdHost,
  method: string,
  request: Buffer,
  response: MessageShape,
): Promise<unknown> {
  return callEngine(host.host.at(SOCKET), `${CRI}/${method}`, request, response, {
    deadlineMs: CALL_TIMEOUT_MS,
    signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
  });
}

/** One field of a protobuf message: a text, a small number, or a message. Numbers and lengths stay below 2^14. */
function field(number: number, value: string | number | readonly Buffer[]): Buffer {
  if (typeof value === 'number') return Buffer.concat([varint(number << 3), varint(value)]);
  const bytes = typeof value === 'string' ? Buffer.from(value) : Buffer.concat(value);
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  return value < 0x80 ? Buffer.of(value) : Buffer.of((value & 0x7f) | 0x80, value >>> 7);
}
