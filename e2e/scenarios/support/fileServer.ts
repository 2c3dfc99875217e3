/**
 * A small HTTP server on this machine that the nodes of the test cluster can reach: what a mirror of
 * artifacts is for real nodes. Bound to the cluster's own network only.
 */
import { createServer } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '../../cluster/cluster.ts';
import { findNetwork } from '../../cluster/network.ts';
import { networkGateway } from '../../cluster/layout.ts';

/** Nothing listens here; fetch refuses some lower ports by itself. */
const CLOSED_PORT = 9_443;

export interface FileServer {
  /** For files that are made before they are served; removed at the end. */
  readonly directory: string;
  /** Serves the content and returns its URL. */
  add(name: string, content: Buffer): string;
  /** A URL on which nothing listens. */
  unreachableUrl(name: string): string;
  close(): Promise<void>;
}

export async function serveFiles(cluster: Cluster): Promise<FileServer> {
  const network = await findNetwork(cluster.name);
  if (network === undefined)
    throw new Error(`cluster ${cluster.name} has no network on this machine`);
  const host = networkGateway(network);
  const directory = await mkdtemp(join(tmpdir(), 'kata-operator-files-'));
  const contents = new Map<string, Buffer>();
  const server = createServer((request, response) => {
    const content = contents.get(request.url ?? '');
    response.writeHead(content === undefined ? 404 : 200, {
      'content-length': content?.length ?? 0,
    });
    response.end(content);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string')
    throw new Error('the file server has no port');
  return {
    directory,
    add(name, content) {
      contents.set(`/${name}`, content);
      return `http://${host}:${address.port}/${name}`;
    },
    unreachableUrl: (name) => `http://${host}:${CLOSED_PORT}/${name}`,
    async close() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
      });
      await rm(directory, { recursive: true, force: true });
    },
  };
}
