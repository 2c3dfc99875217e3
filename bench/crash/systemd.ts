/**
 * A systemd of one unit on a D-Bus socket: it restarts or reloads the engine when it is asked to, and agrees to
 * everything else. What an installer sees of the real one, and nothing more.
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

/** Each ends when it is done, and says whether the unit runs with what it was to take over. */
export interface UnitJobs {
  restart(): Promise<boolean>;
  reload(): Promise<boolean>;
}

export async function startSystemd(
  socketPath: string,
  unit: string,
  jobs: UnitJobs,
): Promise<Systemd> {
  await mkdir(dirname(socketPath), { recursive: true });
  await rm(socketPath, { force: true });
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serve(socket, unit, jobs);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

function serve(socket: Socket, unit: string, jobs: UnitJobs): void {
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
      answer(call, send, unit, jobs);
    }
  });
}

function answer(call: DbusMessage, send: Send, unit: string, jobs: UnitJobs): void {
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
    case 'ReloadUnit':
    case 'StartUnit':
    case 'StopUnit': {
      const named = String(call.body[0]);
      reply('o', [JOB]);
      void jobOf(call.member, named === unit, jobs).then((done) => {
        send({
          type: 'signal',
          path: '/org/freedesktop/systemd1',
          interface: 'org.freedesktop.systemd1.Manager',
          member: 'JobRemoved',
          signature: 'uoss',
          body: [1, JOB, named, done ? 'done' : 'failed'],
        });
      });
      break;
    }
    default:
      reply();
  }
}

function jobOf(method: string, isEngine: boolean, jobs: UnitJobs): Promise<boolean> {
  if (isEngine && method === 'RestartUnit') return jobs.restart();
  if (isEngine && method === 'ReloadUnit') return jobs.reload();
  return Promise.resolve(true);
}
