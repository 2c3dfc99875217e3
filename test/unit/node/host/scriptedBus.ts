/** A D-Bus daemon of a few lines on a real Unix socket: it logs clients in and answers as a test tells it to. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type DbusValue } from '../../../../src/node/host/dbusMarshal.ts';
import {
  type DbusMessage,
  decodeMessage,
  encodeMessage,
  messageLength,
} from '../../../../src/node/host/dbusWire.ts';
import { type Host, hostAt } from '../../../../src/node/host/host.ts';
import { SYSTEM_BUS } from '../../../../src/node/host/systemd.ts';

export interface Reply {
  readonly signature?: string;
  readonly body?: readonly DbusValue[];
  readonly error?: string;
}

/** What the bus does on a call. `signal` may be used before or after the answer. Undefined: no answer at all. */
export type Script = (
  call: DbusMessage,
  bus: {
    signal: (member: string, signature: string, body: readonly DbusValue[]) => void;
    drop: () => void;
  },
) => Reply | undefined;

export interface ScriptedBus {
  readonly host: Host;
  /** Members that were called, in order. */
  readonly calls: string[];
  close(): Promise<void>;
}

/** `splitAt`: bytes per write, to show that messages may arrive in pieces. */
export async function startBus(
  script: Script,
  options: { login?: string; splitAt?: number } = {},
): Promise<ScriptedBus> {
  const root = await mkdtemp(join(tmpdir(), 'ko-bus-'));
  await mkdir(join(root, dirname(SYSTEM_BUS)), { recursive: true });
  const calls: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    serve(socket, script, calls, options);
  });
  await new Promise<void>((resolve) => server.listen(join(root, SYSTEM_BUS), resolve));
  return {
    host: hostAt(root),
    calls,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(root, { recursive: true });
    },
  };
}

function serve(
  socket: Socket,
  script: Script,
  calls: string[],
  { login = 'OK 0123', splitAt }: { login?: string; splitAt?: number },
): void {
  let buffer = Buffer.alloc(0);
  let begun = false;
  let serial = 1000;
  const send = (message: Omit<DbusMessage, 'serial'>): void => {
    serial += 1;
    const bytes = encodeMessage({ ...message, serial });
    for (let offset = 0; offset < bytes.length; offset += splitAt ?? bytes.length)
      socket.write(bytes.subarray(offset, offset + (splitAt ?? bytes.length)));
  };
  const signal = (member: string, signature: string, body: readonly DbusValue[]): void => {
    send({
      type: 'signal',
      path: '/org/freedesktop/systemd1',
      interface: 'org.freedesktop.systemd1.Manager',
      member,
      signature,
      body,
    });
  };
  const answer = (call: DbusMessage): void => {
    calls.push(call.member ?? '');
    const reply =
      call.member === 'Hello'
        ? { signature: 's', body: [':1.7'] }
        : script(call, { signal, drop: () => socket.destroy() });
    if (reply === undefined) return;
    const { error, signature, body = [] } = reply;
    if (error === undefined)
      send({
        type: 'return',
        replySerial: call.serial,
        ...(signature === undefined ? {} : { signature }),
        body,
      });
    else
      send({
        type: 'error',
        replySerial: call.serial,
        errorName: error,
        signature: 's',
        body: [`${error} happened`],
      });
  };
  socket.on('error', () => undefined);
  socket.on('data', (part: Buffer) => {
    buffer = Buffer.concat([buffer, part]);
    if (!begun) {
      const text = buffer.toString('latin1');
      const begin = text.indexOf('BEGIN\r\n');
      if (begin === -1) {
        if (text.startsWith('\0AUTH EXTERNAL ') && text.endsWith('\r\n'))
          socket.write(`${login}\r\n`);
        return;
      }
      begun = true;
      buffer = buffer.subarray(begin + 7);
    }
    for (
      let length = messageLength(buffer);
      length !== undefined && buffer.length >= length;
      length = messageLength(buffer)
    ) {
      const message = decodeMessage(buffer.subarray(0, length));
      buffer = buffer.subarray(length);
      answer(message);
    }
  });
}
