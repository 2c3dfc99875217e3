/**
 * A systemd of one unit on a D-Bus socket: it restarts the engine when it is asked to, and agrees to everything
 * else. What an installer sees of the real one, and nothing more.
 */
import { mkdir, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { type DbusValue } from '../../src/node/host/dbusMarshal.ts';
import {
  decodeMessage,
  encodeMessage,
  messageLength,
  type DbusMessage,
} from '../../src/node/host/dbusWire.ts';

const JOB = '/org/freedesktop/systemd1/job/1';

type Send = (message: Omit<DbusMessage, 'serial'>) => void;

export interface Systemd {
  close(): void;
}

/** `restart` ends when the unit runs again, and says whether it does. */
export async function startSystemd(
  socketPath: string,
  restart: () => Promise<boolean>,
): Promise<Systemd> {
  await mkdir(dirname(socketPath), { recursive: true });
  await rm(socketPath, { force: true });
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serve(socket, restart);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

function serve(socket: Socket, restart: () => Promise<boolean>): void {
  let buffer = Buffer.alloc(0);
  let begun = false;
  let serial = 0;
  const send: Send = (message) => {
    serial += 1;
    socket.write(encodeMessage({ ...message, serial }));
  };
  socket.on('error', () => undefined);
  socket.on('data', (part: Buffer) => {
    buffer = Buffer.concat([buffer, part]);
    if (!begun) {
      const text = buffer.toString('latin1');
      const begin = text.indexOf('BEGIN\r\n');
      if (begin === -1) {
        if (text.endsWith('\r\n')) socket.write('OK 0123\r\n');
        return;
      }
      begun = true;
      buffer = buffer.subarray(begin + 'BEGIN\r\n'.length);
    }
    for (
      let length = messageLength(buffer);
      length !== undefined && buffer.length >= length;
      length = messageLength(buffer)
    ) {
      const call = decodeMessage(buffer.subarray(0, length));
      buffer = buffer.subarray(length);
      answer(call, send, restart);
    }
  });
}

function answer(call: DbusMessage, send: Send, restart: () => Promise<boolean>): void {
  const reply = (signature?: string, body: readonly DbusValue[] = []): void => {
    send({
      type: 'return',
      replySerial: call.serial,
      body,
      ...(signature === undefined ? {} : { signature }),
    });
  };
  switch (call.member) {
    case 'Hello':
      reply('s', [':1.7']);
      break;
    case 'GetUnit':
    case 'LoadUnit':
      reply('o', ['/unit']);
      break;
    case 'Get':
      reply('v', [['s', 'active']]);
      break;
    case 'RestartUnit':
    case 'StartUnit':
    case 'StopUnit': {
      const unit = String(call.body[0]);
      const isEngine = call.member === 'RestartUnit' && unit === 'containerd.service';
      reply('o', [JOB]);
      void (isEngine ? restart() : Promise.resolve(true)).then((up) => {
        send({
          type: 'signal',
          path: '/org/freedesktop/systemd1',
          interface: 'org.freedesktop.systemd1.Manager',
          member: 'JobRemoved',
          signature: 'uoss',
          body: [1, JOB, unit, up ? 'done' : 'failed'],
        });
      });
      break;
    }
    default:
      reply();
  }
}
