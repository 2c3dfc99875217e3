/**
 * The pool of connections to one API server. Owns when a pool is replaced: other TLS material, or a
 * silence that may be dead sockets. A replaced pool takes no new request and ends with its last one.
 */
import { Agent, ProxyAgent, type Dispatcher } from 'undici';
import type { KubeConfig } from '@kubernetes/client-node';
import type { Credentials } from './credentials.ts';

/** Watches hold a connection each; the rest is for the workers. */
const MAX_CONNECTIONS = 64;
const CONNECT_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 60_000;
// Below the idle timeout of common load balancers, as client-go does.
const TCP_KEEP_ALIVE_DELAY_MS = 30_000;

export class Connections {
  readonly #config: KubeConfig;
  #pool: { dispatcher: Dispatcher; fingerprint: string } | undefined;
  readonly #retiring = new Set<Dispatcher>();
  #closed = false;

  constructor(config: KubeConfig) {
    this.#config = config;
  }

  dispatcherFor(credentials: Credentials): Dispatcher {
    if (this.#closed) throw new Error('the transport is closed');
    if (this.#pool?.fingerprint !== credentials.fingerprint) this.retire();
    this.#pool ??= {
      dispatcher: this.#connect(credentials),
      fingerprint: credentials.fingerprint,
    };
    return this.#pool.dispatcher;
  }

  /** The next request opens new connections; those under way finish where they are. */
  retire(): void {
    const old = this.#pool?.dispatcher;
    this.#pool = undefined;
    if (old === undefined) return;
    this.#retiring.add(old);
    const gone = (): void => {
      this.#retiring.delete(old);
    };
    old.close().then(gone, gone);
  }

  /** Ends everything at once, also what is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    const open = [...this.#retiring];
    if (this.#pool !== undefined) open.push(this.#pool.dispatcher);
    this.#pool = undefined;
    await Promise.all(open.map((dispatcher) => dispatcher.destroy()));
  }

  #connect(credentials: Credentials): Dispatcher {
    const { tls } = credentials;
    const pool = {
      // One HTTP/2 session would carry every watch and write: one dead socket would stop them all.
      allowH2: false,
      connections: MAX_CONNECTIONS,
      pipelining: 1,
      keepAliveTimeout: KEEP_ALIVE_MS,
      // Deadlines are the transport's own: a watch may rightly be silent for minutes.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
    const socket = {
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_DELAY_MS,
      timeout: CONNECT_TIMEOUT_MS,
    };
    const how = this.#config.createDispatcherOptions(this.#config.getCurrentCluster(), {});
    switch (how.type) {
      case 'proxy':
        return new ProxyAgent({ ...pool, uri: how.uri, requestTls: tls, connect: socket });
      case 'socks':
        throw new Error(`a SOCKS proxy (${how.uri}) is not supported: use an HTTP proxy`);
      case 'agent':
      case 'none':
        return new Agent({ ...pool, connect: { ...tls, ...socket } });
    }
  }
}
