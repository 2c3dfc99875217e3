/** A CRI service as far as an installer asks it: its name, its status and its handlers; nothing runs in it. */
import { Server, ServerCredentials, type sendUnaryData } from '@grpc/grpc-js';
import { promisify } from 'node:util';
import type { EngineKind, LoadedRuntimes } from './engineKinds.ts';

/** `runtimes` is asked at every call: an engine that reloads answers differently afterwards. */
export async function serveCri(
  socketPath: string,
  kind: EngineKind,
  runtimes: () => LoadedRuntimes,
): Promise<Server> {
  const server = new Server();
  server.addService(SERVICE, {
    Version: answering(() => Buffer.concat(kind.version.map((part, at) => field(at + 2, part)))),
    Status: answering(() => statusAnswer(kind, runtimes())),
    ListPodSandbox: answering(() => Buffer.alloc(0)),
    ListContainers: answering(() => Buffer.alloc(0)),
  });
  await promisify(server.bindAsync.bind(server))(
    `unix:${socketPath}`,
    ServerCredentials.createInsecure(),
  );
  return server;
}

const method = (name: string) => ({
  path: `/runtime.v1.RuntimeService/${name}`,
  requestStream: false as const,
  responseStream: false as const,
  requestSerialize: (bytes: Buffer) => bytes,
  requestDeserialize: (bytes: Buffer) => bytes,
  responseSerialize: (bytes: Buffer) => bytes,
  responseDeserialize: (bytes: Buffer) => bytes,
});
const SERVICE = {
  Version: method('Version'),
  Status: method('Status'),
  ListPodSandbox: method('ListPodSandbox'),
  ListContainers: method('ListContainers'),
};

function answering(bytes: () => Buffer) {
  return (_call: unknown, callback: sendUnaryData<Buffer>): void => {
    callback(null, bytes());
  };
}

/** A length-delimited protobuf field. */
function field(number: number, content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  const length: number[] = [];
  let rest = bytes.length;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length, rest]), bytes]);
}

const READY = field(
  1,
  field(1, Buffer.concat([field(1, 'RuntimeReady'), Buffer.from([0x10, 0x01])])),
);

/** CRI's RuntimeStatus with conditions, verbose info and handlers (k8s.io/cri-api, runtime.v1). */
function statusAnswer(kind: EngineKind, runtimes: LoadedRuntimes): Buffer {
  const config = JSON.stringify(kind.shownConfig(runtimes));
  const handlers = kind.listsHandlers ? Object.keys(runtimes) : [];
  return Buffer.concat([
    READY,
    field(2, Buffer.concat([field(1, 'config'), field(2, config)])),
    ...handlers.map((handler) => field(3, field(1, handler))),
  ]);
}
