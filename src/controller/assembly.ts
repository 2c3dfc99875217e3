/**
 * Puts the controller together from the kube layer and its own modules. Nothing starts here: what runs when, and what
 * is closed in which order, is run.ts.
 */
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { systemClock } from '../kube/clock.ts';
import { KubeClient } from '../kube/client.ts';
import { loadKubeConfig } from '../kube/config.ts';
import { EventRecorder } from '../kube/events.ts';
import { fenced } from '../kube/fence.ts';
import { LeaderElector } from '../kube/lease.ts';
import type { Logger } from '../kube/log.ts';
import { createTransport, type Transport } from '../kube/transport.ts';
import { WorkQueue } from '../kube/workqueue.ts';
import { Cache } from './cache/cache.ts';
import { UsageLookup } from './deployment/usage.ts';
import { CONTROLLER, Metrics, resourceOfPath } from './metrics.ts';
import type { RunOptions } from './options.ts';
import { Reconciler, RETRY_LIMITS } from './reconciler.ts';
import type { NodePodSettings } from './revision/objects.ts';
import { createHttpServer } from './server/http.ts';

/** Everything that is started, or must be closed. */
export interface Controller {
  readonly log: Logger;
  readonly transport: Transport;
  readonly queue: WorkQueue;
  readonly cache: Cache;
  readonly elector: LeaderElector;
  readonly reconciler: Reconciler;
  readonly server: FastifyInstance;
}

/** `identity` is that of this replica. Throws KATA_E_KUBECONFIG. */
export function assemble(options: RunOptions, identity: string): Controller {
  const log = pino({ level: options.logLevel, base: { identity } });
  const metrics = new Metrics();
  const transport = connect(options, metrics, log);
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
  const parts = { log, transport, queue, cache, elector };
  const reconciler = reconcilerOf(parts, client, metrics, options, identity);
  const server = createHttpServer({
    registry: metrics.registry,
    refresh: () => {
      refresh(metrics, parts, options);
    },
    notReady: () => (cache.isSynced() ? undefined : 'the caches are not filled yet'),
  });
  return { ...parts, reconciler, server };
}

function connect(options: RunOptions, metrics: Metrics, log: Logger): Transport {
  const { kubeconfig } = options;
  return createTransport(loadKubeConfig({ kubeconfig }), {
    userAgent: 'kata-operator',
    warningHook: (path, text) => {
      log.warn({ path, text }, 'the API server warns');
    },
    metricsHook: ({ method, path, status }) => {
      metrics.requests.inc({ method, resource: resourceOfPath(path), code: String(status) });
    },
  });
}

/** What the workers are made of: all that they write, they write only while this replica leads. */
function reconcilerOf(
  { log, queue, cache, elector }: Pick<Controller, 'log' | 'queue' | 'cache' | 'elector'>,
  client: KubeClient,
  metrics: Metrics,
  options: RunOptions,
  identity: string,
): Reconciler {
  const leaderClient = fenced(client, () => elector.isLeader());
  const recorder = new EventRecorder({
    client: leaderClient,
    namespace: 'default',
    reportingController: 'kata-operator.dev/controller',
    reportingInstance: identity,
    log,
  });
  return new Reconciler({
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
  { queue, cache, elector }: Pick<Controller, 'queue' | 'cache' | 'elector'>,
  options: RunOptions,
): void {
  metrics.queueDepth.set({ name: CONTROLLER }, queue.depth);
  metrics.leader.set({ name: options.leaderElectionId }, elector.isLeader() ? 1 : 0);
  for (const [kind, ageMs] of Object.entries(cache.eventAgesMs()))
    metrics.watchAge.set({ kind }, ageMs / 1000);
  metrics.showNodes(cache.kataNodes.list().flatMap(({ status }) => status?.phase ?? []));
}
