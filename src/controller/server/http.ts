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
