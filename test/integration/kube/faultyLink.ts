/** A TCP relay that a test can freeze or cut, to stand between a client and a server that are both in order. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export class FaultyLink {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Connections made while nothing passes. */
  #waiting: Socket[] | undefined;
  /** Connections accepted so far. */
  connections = 0;

  private constructor(target: { host: string; port: number }) {
    this.#server = createServer((near) => {
      this.connections += 1;
      const far = connect(target);
      this.#relay(near, far);
      this.#relay(far, near);
    });
  }

  static async to(url: string): Promise<FaultyLink> {
    const { hostname, port } = new URL(url);
    const link = new FaultyLink({ host: hostname, port: Number(port) });
    link.#server.listen(0, '127.0.0.1');
    await once(link.#server, 'listening');
    return link;
  }

  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Nothing passes and nobody is told; what is written in the meantime is lost with its connection. */
  freeze(): void {
    this.#waiting = [];
    for (const socket of this.#sockets) socket.pause();
  }

  /** Connections made while frozen go on; those from before stay silent for ever, as after a lost firewall state. */
  thaw(): void {
    for (const socket of this.#waiting ?? []) socket.resume();
    this.#waiting = undefined;
  }

  /** Every connection ends with RST. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, 'close');
  }

  #relay(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    from.on('data', (chunk) => {
      to.write(chunk);
    });
    // Listening for data makes a socket flow: this comes after.
    if (this.#waiting !== undefined) {
      from.pause();
      this.#waiting.push(from);
    }
    from.on('end', () => {
      to.end();
    });
    from.on('error', () => {
      to.destroy();
    });
    from.on('close', () => {
      this.#sockets.delete(from);
      to.destroy();
    });
  }
}
