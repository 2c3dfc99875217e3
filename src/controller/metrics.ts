/**
 * What the controller counts. Names are controller-runtime's and client-go's where these have one, so that
 * dashboards fit; labels are bounded: no node and no object name.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { PHASES, type Phase } from '../crds/kataNode.ts';

export class Metrics {
  readonly registry = new Registry();
  readonly reconcileTotal = new Counter({
    name: 'controller_runtime_reconcile_total',
    help: 'Reconciliations by result.',
    labelNames: ['controller', 'result'],
    registers: [this.registry],
  });
  readonly reconcileSeconds = new Histogram({
    name: 'controller_runtime_reconcile_time_seconds',
    help: 'Time of one reconciliation.',
    labelNames: ['controller'],
    buckets: [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
    registers: [this.registry],
  });
  readonly requests = new Counter({
    name: 'rest_client_requests_total',
    help: 'Requests to the API server by method, resource and code (0: no answer).',
    labelNames: ['method', 'resource', 'code'],
    registers: [this.registry],
  });
  readonly queueDepth = new Gauge({
    name: 'workqueue_depth',
    help: 'Names waiting to be looked at.',
    labelNames: ['name'],
    registers: [this.registry],
  });
  readonly leader = new Gauge({
    name: 'leader_election_master_status',
    help: '1 on the replica that acts.',
    labelNames: ['name'],
    registers: [this.registry],
  });
  readonly nodes = new Gauge({
    name: 'kata_operator_nodes',
    help: 'Nodes by phase.',
    labelNames: ['phase'],
    registers: [this.registry],
  });
  readonly watchAge = new Gauge({
    name: 'kata_operator_watch_last_event_age_seconds',
    help: 'Time since a watch last brought an event or a bookmark.',
    labelNames: ['kind'],
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    for (const result of ['success', 'error', 'requeue_after'])
      this.reconcileTotal.inc({ controller: CONTROLLER, result }, 0);
    this.showNodes([]);
  }

  /** The phase of every node. One that no node is in is zero, not absent. */
  showNodes(phases: readonly Phase[]): void {
    const counts = new Map<Phase, number>();
    for (const phase of phases) counts.set(phase, (counts.get(phase) ?? 0) + 1);
    for (const phase of PHASES) this.nodes.set({ phase }, counts.get(phase) ?? 0);
  }
}

export const CONTROLLER = 'katadeployment';

/** `/apis/apps/v1/namespaces/x/daemonsets/y` → `daemonsets`: the label must not hold names. */
export function resourceOfPath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '');
  const rest = parts.slice(parts[0] === 'api' ? 2 : 3);
  const afterNamespace = rest[0] === 'namespaces' && rest.length > 2 ? rest.slice(2) : rest;
  return afterNamespace[0] ?? '';
}
