/**
 * A connection to the host's D-Bus system bus: authenticate, call methods, wait for signals.
 *
 * Owns one socket. Every wait ends by its signal, which the caller gives a deadline; a bus that closes the
 * connection fails everything that waits. Why our own: docs/adr/0004-own-dbus-client.md.
 */
import { connect, type Socket } from 'node:net';
import { type DbusValue } from './dbusMarshal.ts';
import { type DbusMessage, decodeMessage, encodeMessage, messageLength } from './dbusWire.ts';

/** The bus, or a service on it, answered with an error. `errorName` is D-Bus's (`org.freedesktop.systemd1.NoSuchUnit`). */
export class DbusError extends Error {
  override readonly name = 'DbusError';
  readonly errorName: string;

  constructor(errorName: string, message: string) {
    super(message);
    this.errorName = errorName;
  }
}

export interface DbusCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly DbusValue[];
}

interface Waiter {
  readonly wants: (message: DbusMessage) => boolean;
  readonly settle: (message: DbusMessage | Error) => void;
}

const BUS = {
  destination: 'org.freedesktop.DBus',
  path: '/org/freedesktop/DBus',
  interface: 'org.freedesktop.DBus',
} as const;

/** Connects, authenticates as this process's user (the kernel vouches for it) and says Hello. */
export async function openDbus(socketPath: string, signal: AbortSignal): Promise<DbusConnection> {
  const socket = connect(socketPath);
  const connection = new DbusConnection(socket);
  try {
    await connection.authenticate(signal);
    await connection.call({ ...BUS, member: 'Hello' }, signal);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

export class DbusConnection {
  #serial = 0;
  #buffer = Buffer.alloc(0);
  #authenticated = false;
  #failure: Error | undefined;
  #onLine: ((line: string | Error) => void) | undefined;
  readonly #waiters = new Set<Waiter>();
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (part: Buffer) => {
      this.#receive(part);
    });
    socket.on('error', (error) => {
      this.#fail(error);
    });
    socket.on('close', () => {
      this.#fail(new Error('the bus closed the connection'));
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  /** SASL EXTERNAL: the user id in hex, checked by the bus against the socket's credentials. */
  async authenticate(signal: AbortSignal): Promise<void> {
    const uid = Buffer.from(String(process.getuid?.() ?? 0)).toString('hex');
    const answer = await this.#line(`\0AUTH EXTERNAL ${uid}\r\n`, signal);
    if (!answer.startsWith('OK '))
      throw new DbusError(
        'org.freedesktop.DBus.Error.AuthFailed',
        `the bus refused the login: ${answer}`,
      );
    this.#authenticated = true;
    this.#socket.write('BEGIN\r\n');
  }

  /** Calls a method and waits for its answer. */
  async call(call: DbusCall, signal: AbortSignal): Promise<readonly DbusValue[]> {
    this.#serial += 1;
    const serial = this.#serial;
    const answer = this.#wait(({ replySerial }) => replySerial === serial, signal);
    this.#socket.write(encodeMessage({ type: 'call', serial, ...call, body: call.body ?? [] }));
    const message = await answer;
    if (message.type === 'error')
      throw new DbusError(
        message.errorName ?? '',
        typeof message.body[0] === 'string' ? message.body[0] : (message.errorName ?? 'error'),
      );
    return message.body;
  }

  /** Asks the bus to deliver the signals that the rule describes. */
  async addMatch(rule: string, signal: AbortSignal): Promise<void> {
    await this.call({ ...BUS, member: 'AddMatch', signature: 's', body: [rule] }, signal);
  }

  /**
   * The first signal of this kind whose body is accepted. It counts from the moment of the call: ask before
   * doing what causes it.
   */
  waitForSignal(
    member: string,
    accepts: (body: readonly DbusValue[]) => boolean,
    signal: AbortSignal,
  ): Promise<readonly DbusValue[]> {
    const wants = (message: DbusMessage): boolean =>
      message.type === 'signal' && message.member === member && accepts(message.body);
    return this.#wait(wants, signal).then(({ body }) => body);
  }

  #wait(wants: Waiter['wants'], signal: AbortSignal): Promise<DbusMessage> {
    return new Promise((resolve, reject) => {
      const settle = (outcome: DbusMessage | Error): void => {
        this.#waiters.delete(waiter);
        signal.removeEventListener('abort', abort);
        if (outcome instanceof Error) reject(outcome);
        else resolve(outcome);
      };
      const abort = (): void => {
        settle(signal.reason as Error);
      };
      const waiter: Waiter = { wants, settle };
      this.#waiters.add(waiter);
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      else if (this.#failure !== undefined) settle(this.#failure);
    });
  }

  #line(request: string, signal: AbortSignal): Promise<string> {
    return new Promise((resolve, reject) => {
      const settle = (outcome: string | Error): void => {
        this.#onLine = undefined;
        signal.removeEventListener('abort', abort);
        if (outcome instanceof Error) reject(outcome);
        else resolve(outcome);
      };
      const abort = (): void => {
        settle(signal.reason as Error);
      };
      this.#onLine = settle;
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      else if (this.#failure !== undefined) settle(this.#failure);
      else this.#socket.write(request);
    });
  }

  #receive(part: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, part]);
    try {
      if (this.#authenticated) this.#deliverMessages();
      else this.#deliverLine();
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
      this.close();
    }
  }

  #deliverLine(): void {
    const end = this.#buffer.indexOf('\r\n');
    if (end === -1) return;
    const line = this.#buffer.toString('utf8', 0, end);
    this.#buffer = this.#buffer.subarray(end + 2);
    this.#onLine?.(line);
  }

  #deliverMessages(): void {
    for (
      let length = messageLength(this.#buffer);
      length !== undefined && this.#buffer.length >= length;
      length = messageLength(this.#buffer)
    ) {
      const message = decodeMessage(this.#buffer.subarray(0, length));
      this.#buffer = this.#buffer.subarray(length);
      for (const waiter of this.#waiters) if (waiter.wants(message)) waiter.settle(message);
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#onLine?.(this.#failure);
    for (const waiter of this.#waiters) waiter.settle(this.#failure);
  }
}
