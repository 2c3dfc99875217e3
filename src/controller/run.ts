/**
 * Starts the controller and takes it down in order: stop the workers, give up the lease, stop the
 * watches, close the port.
 */
import type { WorkQueue } from '../kube/workqueue.ts';
import { assemble } from './assembly.ts';
import type { Cache } from './cache/cache.ts';
import type { RunOptions } from './options.ts';
import { listenOnAny } from './server/http.ts';

/** A cache that is so young needs no list: the watches have just told something, or the first lists were just made. */
const TAKEOVER_MAX_AGE_MS = 2_000;
/** A leader that cannot fill its caches in this time gives up the lease, ends, and starts anew. */
const TAKEOVER_TIMEOUT_MS = 120_000;

/** Runs until the signal is aborted; resolves after an orderly end. */
export async function run(
  options: RunOptions,
  identity: string,
  signal: AbortSignal,
): Promise<void> {
  const { log, transport, queue, cache, elector, reconciler, server } = assemble(options, identity);
  const watches = new AbortController();
  const watching = cache.run(watches.signal).catch((error: unknown) => {
    if (!watches.signal.aborted) throw error;
  });
  try {
    await listenOnAny(server, options.httpPort);
    log.info({ port: options.httpPort, nodeImage: options.nodeImage }, 'kata-operator is up');
    await elector.run(signal, async (leading) => {
      log.info({}, 'leading');
      await takeOver(cache, queue, leading);
      await reconciler.run(leading);
    });
  } finally {
    queue.shutDown();
    watches.abort();
    await watching;
    await server.close();
    await transport.close();
  }
}

/** What another replica wrote until a moment ago must be known, also when our own watch has died unnoticed. */
async function takeOver(cache: Cache, queue: WorkQueue, leading: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(TAKEOVER_TIMEOUT_MS);
  await cache.fresh(TAKEOVER_MAX_AGE_MS, AbortSignal.any([leading, limit]));
  for (const { name } of cache.deployments.list()) queue.add(name);
}
