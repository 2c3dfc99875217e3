/**
 * The operations port: /livez, /readyz, /metrics. Nothing else listens in the controller.
 */
import { fastify, type FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';

export interface HttpOptions {
  readonly registry: Registry;
  /** Brings gauges up to date before they are read. */
  readonly refresh: () => void;
  /** What is missing for being ready; undefined when nothing is. */
  readonly notReady: () => string | undefined;
}

/** Both families; where the kernel has no IPv6, the other. */
const ANY_ADDRESS = ['::', '0.0.0.0'] as const;
const NO_SUCH_ADDRESS: readonly unknown[] = ['EAFNOSUPPORT', 'EADDRNOTAVAIL'];

/** Listens on the first of the addresses that the kernel has, and returns it as a URL. */
export async function listenOnAny(
  server: Pick<FastifyInstance, 'listen'>,
  port: number,
  [host, ...others]: readonly [string, ...string[]] = ANY_ADDRESS,
): Promise<string> {
  try {
    return await server.listen({ host, port });
  } catch (error) {
    const [next, ...rest] = others;
    if (next === undefined || !NO_SUCH_ADDRESS.includes(codeOf(error))) throw error;
    return await listenOnAny(server, port, [next, ...rest]);
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

export function createHttpServer(options: HttpOptions): FastifyInstance {
  const server = fastify({ logger: false, forceCloseConnections: true });
  server.get('/livez', () => 'ok\n');
  server.get('/readyz', async (_request, reply) => {
    const missing = options.notReady();
    await reply
      .code(missing === undefined ? 200 : 503)
      .send(missing === undefined ? 'ok\n' : `${missing}\n`);
  });
  server.get('/metrics', async (_request, reply) => {
    options.refresh();
    await reply
      .header('content-type', options.registry.contentType)
      .send(await options.registry.metrics());
  });
  return server;
}
