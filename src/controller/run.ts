/**
 * Puts the controller together and takes it down in order: stop the workers, give up the lease, stop the
 * watches, close the port.
 */
import { pino } from 'pino';
import { systemClock } from '../kube/clock.ts';
import { KubeClient } from '../kube/client.ts';
import { loadKubeConfig } from '../kube/config.ts';
import { EventRecorder } from '../kube/events.ts';
import { fenced } from '../kube/fence.ts';
import { LeaderElector } from '../kube/lease.ts';
import { createTransport } from '../kube/transport.ts';
import { WorkQueue } from '../kube/workqueue.ts';
import { Cache } from './cache/cache.ts';
import { UsageLookup } from './deployment/usage.ts';
import { CONTROLLER, Metrics, resourceOfPath } from './metrics.ts';
import type { RunOptions } from './options.ts';
import { Reconciler, RETRY_LIMITS } from './reconciler.ts';
import type { NodePodSettings } from './revision/objects.ts';
import { createHttpServer, listenOnAny } from './server/http.ts';

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
  const log = pino({ level: options.logLevel, base: { identity } });
  const metrics = new Metrics();
  const transport = createTransport(
    loadKubeConfig(options.kubeconfig === undefined ? {} : { kubeconfig: options.kubeconfig }),
    {
      userAgent: 'kata-operator',
      warningHook: (path, text) => {
        log.warn({ path, text }, 'the API server warns');
      },
      metricsHook: ({ method, path, status }) => {
        metrics.requests.inc({ method, resource: resourceOfPath(path), code: String(status) });
      },
    },
  );
  const client = new KubeClient(transport);
  const queue = new WorkQueue({ rateLimits: RETRY_LIMITS });
  const cache = new Cache({
    client,
    nodeNamespace: options.nodeNamespace,
    log,
    touched: (name) => {
      queue.add(name);
    },
  });
  const elector = new LeaderElector({
    client,
    namespace: options.releaseNamespace,
    name: options.leaderElectionId,
    identity,
    log,
  });
  const leaderClient = fenced(client, () => elector.isLeader());
  const recorder = new EventRecorder({
    client: leaderClient,
    namespace: 'default',
    reportingController: 'kata-operator.dev/controller',
    reportingInstance: identity,
    log,
  });
  const reconciler = new Reconciler({
    cache,
    queue,
    metrics,
    clock: systemClock,
    log,
    observe: {
      cache,
      usage: new UsageLookup({ client, clock: systemClock }),
      settings: nodePodSettings(options),
    },
    act: { client: leaderClient, recorder, nodeNamespace: options.nodeNamespace, log },
  });
  const server = createHttpServer({
    registry: metrics.registry,
    refresh: () => {
      refresh(metrics, cache, queue, elector, options);
    },
    notReady: () => (cache.isSynced() ? undefined : 'the caches are not filled yet'),
  });

  const watches = new AbortController();
  const watching = cache.run(watches.signal).catch((error: unknown) => {
    if (!watches.signal.aborted) throw error;
  });
  try {
    await listenOnAny(server, options.httpPort);
    log.info({ port: options.httpPort, nodeImage: options.nodeImage }, 'kata-operator is up');
    await elector.run(signal, async (leading) => {
      log.info({}, 'leading');
      // What another replica wrote until a moment ago must be known, also when our own watch has died unnoticed.
      const limit = AbortSignal.timeout(TAKEOVER_TIMEOUT_MS);
      await cache.fresh(TAKEOVER_MAX_AGE_MS, AbortSignal.any([leading, limit]));
      for (const { name } of cache.deployments.list()) queue.add(name);
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

function nodePodSettings(options: RunOptions): NodePodSettings {
  return {
    namespace: options.nodeNamespace,
    image: options.nodeImage,
    imagePullPolicy: options.nodeImagePullPolicy,
    serviceAccount: options.nodeServiceAccount,
    priorityClass: options.nodePriorityClass,
    imagePullSecrets: options.imagePullSecrets,
  };
}

function refresh(
  metrics: Metrics,
  cache: Cache,
  queue: WorkQueue,
  elector: LeaderElector,
  options: RunOptions,
): void {
  metrics.queueDepth.set({ name: CONTROLLER }, queue.depth);
  metrics.leader.set({ name: options.leaderElectionId }, elector.isLeader() ? 1 : 0);
  for (const [kind, ageMs] of Object.entries(cache.eventAgesMs()))
    metrics.watchAge.set({ kind }, ageMs / 1000);
  metrics.showNodes(cache.kataNodes.list().flatMap(({ status }) => status?.phase ?? []));
}
