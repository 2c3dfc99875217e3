/**
 * A small cluster for decisions: it holds what the API server would, obeys the writes of a decision, and
 * plays the DaemonSet controller and the nodes. Tests assert its state, not the calls.
 */
import { LABEL, parseClaim } from '../../../../src/crds/names.ts';
import { kataDeploymentSpec } from '../../../../src/crds/kataDeployment.ts';
import type { NodeResult, Outcome, Stage } from '../../../../src/crds/nodeResult.ts';
import type { ErrorCode } from '../../../../src/errors.ts';
import { KataError } from '../../../../src/errors.ts';
import type { NodePodView } from '../../../../src/controller/cache/nodePod.ts';
import {
  kataNodeView,
  nodeView,
  type KataDeploymentView,
  type KataNodeView,
  type NodeView,
  type OwnedView,
} from '../../../../src/controller/cache/views.ts';
import { decide } from '../../../../src/controller/deployment/decide.ts';
import type { Observed, ParsedSpec } from '../../../../src/controller/deployment/observed.ts';
import type { EventDraft } from '../../../../src/kube/events.ts';
import { contentOf, daemonSetContent } from '../../../../src/controller/revision/served.ts';
import { runtimeClassContent } from '../../../../src/controller/runtimeclass/desired.ts';
import type { Manifest, Write } from '../../../../src/controller/writes.ts';
import type { KubeObject } from '../../../../src/kube/resource.ts';
import { NODE_POD_SETTINGS } from './settings.ts';

export const START_MS = Date.parse('2030-01-01T00:00:00Z');

/** For what has nothing to do with waves. */
export const ALL_AT_ONCE = { waves: ['100%'], soak: '0s' } as const;

interface NodeOptions {
  readonly labels?: Record<string, string>;
  readonly ready?: boolean;
  readonly unschedulable?: boolean;
  readonly bootId?: string;
  readonly os?: string;
  readonly taints?: { key: string; value?: string; effect: string }[];
  readonly runtimeHandlers?: string[];
  readonly createdAtMs?: number;
}

/** How a node answers when a Pod of ours comes to it; the default is success. */
export type Behaviour = (
  node: string,
  stage: Stage,
  revision: string,
) => Partial<NodeResult> | 'hang' | undefined;

export class World {
  nowMs = START_MS;
  readonly nodes = new Map<string, KubeObject>();
  readonly kataNodes = new Map<string, KubeObject>();
  readonly pods = new Map<string, NodePodView>();
  readonly configMaps = new Map<string, OwnedView>();
  readonly daemonSets = new Map<string, OwnedView>();
  readonly runtimeClasses = new Map<string, OwnedView>();
  /** `namespace/name` → class and node of a Pod of a user. */
  readonly userPods = new Map<string, { className: string; node: string | undefined }>();
  readonly events: EventDraft[] = [];
  /** Every write that was performed, for counting. */
  readonly writes: Write[] = [];
  behaviour: Behaviour = () => undefined;
  /** The DaemonSet controller has missed the claims and creates no Pod until a DaemonSet is touched. */
  deaf = false;
  /** Names of KataDeployments beside this one. */
  otherDeployments: readonly string[] = ['other'];
  /** Labels by which another installer owns its field of every node: an apply of ours does not change them. */
  othersLabels: Readonly<Record<string, string>> = {};
  /** Pods are asked to end and do not. */
  lingering = false;
  deployment: KataDeploymentView | undefined;
  #serial = 0;
  readonly #labelsApplied = new Map<string, Set<string>>();
  /** Nodes on which something of ours lies. */
  readonly installed = new Set<string>();

  constructor(spec: unknown = {}, name = 'kata') {
    this.deployment = this.#deploymentView(name, spec, 1);
  }

  addNode(name: string, options: NodeOptions = {}): void {
    this.nodes.set(name, {
      metadata: {
        name,
        uid: this.#id('node'),
        resourceVersion: this.#id('rv'),
        labels: { ...options.labels },
        creationTimestamp: new Date(options.createdAtMs ?? START_MS - 86_400_000).toISOString(),
      },
      spec: { unschedulable: options.unschedulable ?? false, taints: options.taints ?? [] },
      status: {
        conditions: [{ type: 'Ready', status: options.ready === false ? 'False' : 'True' }],
        nodeInfo: {
          architecture: 'amd64',
          operatingSystem: options.os ?? 'linux',
          kernelVersion: '6.1.0',
          bootID: options.bootId ?? 'boot-1',
        },
        ...(options.runtimeHandlers === undefined
          ? {}
          : { runtimeHandlers: options.runtimeHandlers.map((handler) => ({ name: handler })) }),
      },
    });
  }

  setReady(name: string, ready: boolean): void {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`no node ${name}`);
    const conditions = [
      {
        type: 'Ready',
        status: ready ? 'True' : 'Unknown',
        lastTransitionTime: new Date(this.nowMs).toISOString(),
      },
    ];
    node['status'] = { ...(node['status'] as object), conditions };
  }

  /** Replaces the specification, as an edit does. */
  edit(spec: unknown): void {
    const before = this.#mustHaveDeployment();
    this.deployment = {
      ...before,
      spec,
      generation: before.generation + 1,
      resourceVersion: this.#id('rv'),
    };
  }

  delete(): void {
    this.deployment = { ...this.#mustHaveDeployment(), deleting: true };
  }

  /** The annotations of the KataDeployment. */
  annotate(annotations: Record<string, string>): void {
    this.deployment = { ...this.#mustHaveDeployment(), annotations };
  }

  annotateNode(name: string, annotations: Record<string, string>): void {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`no node ${name}`);
    node.metadata = { ...node.metadata, annotations };
  }

  annotateKataNode(name: string, annotations: Record<string, string>): void {
    const object = this.kataNodes.get(name);
    if (object === undefined) throw new Error(`no KataNode ${name}`);
    object.metadata = { ...object.metadata, annotations };
  }

  observe(): Observed {
    const deployment = this.#mustHaveDeployment();
    const pods = new Map<string, NodePodView[]>();
    for (const pod of this.pods.values())
      pods.set(pod.nodeName, [...(pods.get(pod.nodeName) ?? []), pod]);
    const byNode = new Map<string, string[]>([...this.nodes.keys()].map((name) => [name, []]));
    const byClass = new Map<string, string[]>(
      [...this.runtimeClasses.keys()].map((name) => [name, []]),
    );
    for (const [name, { className, node }] of this.userPods) {
      byClass.set(className, [...(byClass.get(className) ?? []), name]);
      if (node !== undefined) byNode.set(node, [...(byNode.get(node) ?? []), name]);
    }
    const mine = (view: OwnedView): boolean => view.labels[LABEL.deployment] === deployment.name;
    const classes = [...this.runtimeClasses.values()];
    return {
      deployment,
      parsed: parse(deployment.spec),
      deployments: new Set([deployment.name, ...this.otherDeployments]),
      nodes: this.nodeViews(),
      kataNodes: new Map([...this.kataNodes].map(([name, object]) => [name, kataNodeView(object)])),
      pods,
      configMaps: [...this.configMaps.values()],
      daemonSets: [...this.daemonSets.values()],
      runtimeClasses: classes.filter(mine),
      foreignClasses: new Map(
        classes
          .filter((view) => !mine(view))
          .map((view) => [view.name, view.labels[LABEL.deployment]]),
      ),
      usage: { byNode, byClass },
      settings: NODE_POD_SETTINGS,
    };
  }

  /** One reconciliation. With `stopAfter` the controller dies after so many writes. */
  reconcile(stopAfter = Number.POSITIVE_INFINITY): number {
    if (this.deployment === undefined) return 0;
    const { writes } = decide(this.observe(), this.nowMs);
    const performed = writes.slice(0, stopAfter);
    for (const write of performed) this.#perform(write);
    return performed.length;
  }

  /** Reconciles and lets nodes and DaemonSets work until nothing changes any more. Returns the number of rounds. */
  settle(options: { maxRounds?: number; stopAfter?: () => number } = {}): number {
    const maxRounds = options.maxRounds ?? 2_000;
    for (let round = 1; round <= maxRounds; round += 1) {
      const written = this.reconcile(options.stopAfter?.());
      const moved = this.playCluster();
      if (written === 0 && !moved && !this.#soaks()) return round;
      this.nowMs += written === 0 && !moved ? 30_000 : 1_000;
    }
    throw new Error(`the world did not settle in ${maxRounds} rounds`);
  }

  /** Only the clock is waited for. */
  #soaks(): boolean {
    return this.condition('Progressing')?.reason === 'Soaking';
  }

  /** DaemonSet controller and kubelets: Pods follow claims, stages end. */
  playCluster(): boolean {
    let moved = false;
    for (const [name, view] of this.daemonSets) {
      const content = contentOf(view);
      if (content.observed) continue;
      this.daemonSets.set(name, { ...view, content: { ...content, observed: true } });
      moved = true;
    }
    for (const pod of [...this.pods.values()])
      if (pod.deleting && !this.lingering) moved = this.pods.delete(pod.name) || moved;
    for (const [name, node] of this.nodes) {
      const claim = node.metadata.labels?.[LABEL.claim];
      for (const pod of [...this.pods.values()]) {
        const wanted = claim === `${pod.deployment}.${pod.revision}` && this.#hasDaemonSet(claim);
        if (pod.nodeName === name && !wanted) moved = this.#endPod(pod) || moved;
      }
      const parsed = parseClaim(claim ?? '');
      if (parsed === undefined || !this.#hasDaemonSet(claim) || this.deaf) continue;
      const isThere = (pod: NodePodView): boolean =>
        pod.nodeName === name && pod.revision === parsed.revision;
      if (![...this.pods.values()].some(isThere)) {
        this.#createPod(name, parsed);
        moved = true;
      }
    }
    for (const pod of [...this.pods.values()]) {
      if (!this.nodes.has(pod.nodeName)) moved = this.pods.delete(pod.name) || moved;
      else moved = this.#runStages(pod) || moved;
    }
    return moved;
  }

  kataNode(name: string): KataNodeView | undefined {
    const object = this.kataNodes.get(name);
    return object === undefined ? undefined : kataNodeView(object);
  }

  phase(name: string): string | undefined {
    return this.kataNode(name)?.status?.phase;
  }

  labels(name: string): Record<string, string> {
    return this.nodes.get(name)?.metadata.labels ?? {};
  }

  condition(type: string): { status: string; reason: string; message: string } | undefined {
    const status = this.deployment?.status as
      | { conditions?: { type: string; status: string; reason: string; message: string }[] }
      | undefined;
    return status?.conditions?.find((condition) => condition.type === type);
  }

  nodeViews(): NodeView[] {
    return [...this.nodes.values()].map(nodeView);
  }

  #perform(write: Write): void {
    this.writes.push(write);
    if (write.verb === 'event') this.events.push(write.event);
    else if (write.verb === 'delete') this.#delete(write);
    else if (write.verb === 'finalizers') this.#putFinalizers(write);
    else if (write.verb === 'untaint') this.#untaint(write);
    else this.#apply(write);
  }

  #untaint({ name, uid, index, key }: Extract<Write, { verb: 'untaint' }>): void {
    const node = this.nodes.get(name);
    const spec = node?.['spec'] as { taints: { key: string }[] } | undefined;
    if (node?.metadata.uid !== uid || spec?.taints[index]?.key !== key)
      throw new Error(`taint ${key} of ${name} is not where it was`);
    node['spec'] = { ...spec, taints: spec.taints.toSpliced(index, 1) };
  }

  #delete({ kind, name, uid }: Extract<Write, { verb: 'delete' }>): void {
    const pod = kind === 'Pod' ? this.pods.get(name) : undefined;
    // A Pod ends by and by; everything else is gone at once. A uid of yesterday deletes nothing.
    if (pod?.uid === uid) this.pods.set(name, { ...pod, deleting: true });
    else if (this.#uidOf(kind, name) === uid) this.#storeOf(kind).delete(name);
  }

  #uidOf(kind: Manifest['kind'], name: string): string | undefined {
    if (kind === 'KataNode') return this.kataNodes.get(name)?.metadata.uid;
    const object: unknown = this.#storeOf(kind).get(name);
    return typeof object === 'object' && object !== null
      ? String(Reflect.get(object, 'uid'))
      : undefined;
  }

  #apply({ object, subresource }: Extract<Write, { verb: 'apply' }>): void {
    const { name, uid } = object.metadata;
    switch (object.kind) {
      case 'KataDeployment':
        this.#applyDeployment(object, subresource);
        return;
      case 'Node': {
        const node = this.nodes.get(name);
        if (node === undefined || node.metadata.uid !== uid)
          throw new Error(`apply would create Node ${name}`);
        // Server-side apply: what this manager no longer names goes, unless somebody else has it too.
        const mine = this.#labelsApplied.get(name) ?? new Set();
        const kept = Object.entries(node.metadata.labels ?? {}).filter(([key]) => !mine.has(key));
        this.#labelsApplied.set(name, new Set(Object.keys(labelsOf(object))));
        node.metadata = {
          ...node.metadata,
          labels: { ...Object.fromEntries(kept), ...labelsOf(object), ...this.othersLabels },
          resourceVersion: this.#id('rv'),
        };
        return;
      }
      case 'KataNode': {
        const before = this.kataNodes.get(name);
        const metadata = before?.metadata ?? { name, uid: this.#id('katanode') };
        const part =
          subresource === 'status' ? { status: object['status'] } : { spec: object['spec'] };
        if (before === undefined && subresource === 'status')
          throw new Error(`status of KataNode ${name} that does not exist`);
        this.kataNodes.set(
          name,
          structuredClone({
            ...before,
            ...part,
            metadata: { ...metadata, resourceVersion: this.#id('rv') },
          }),
        );
        return;
      }
      case 'RuntimeClass':
        this.runtimeClasses.set(name, {
          ...this.#owned(object),
          content: structuredClone(runtimeClassContent(object)),
        });
        return;
      case 'ConfigMap':
        this.configMaps.set(name, this.#owned(object));
        return;
      case 'DaemonSet':
        if (object['spec'] === undefined) this.deaf = false;
        else {
          const before = this.daemonSets.get(name);
          const content = { ...daemonSetContent(object), observed: before !== undefined };
          this.daemonSets.set(name, { ...this.#owned(object), content });
        }
        return;
      case 'Pod':
        throw new Error('Pods are made by DaemonSets only');
    }
  }

  #applyDeployment(object: Manifest, subresource: 'status' | undefined): void {
    if (subresource !== 'status') throw new Error('a decision must not edit a KataDeployment');
    const before = this.#mustHaveDeployment();
    this.deployment = {
      ...before,
      status: structuredClone(object['status']),
      resourceVersion: this.#id('rv'),
    };
  }

  #putFinalizers({ uid, seen, finalizers }: Extract<Write, { verb: 'finalizers' }>): void {
    const before = this.#mustHaveDeployment();
    if (before.uid !== uid || before.resourceVersion !== seen)
      throw new Error('finalizers of another version of the KataDeployment');
    this.deployment =
      before.deleting && finalizers.length === 0
        ? undefined
        : { ...before, finalizers, resourceVersion: this.#id('rv') };
  }

  #owned(object: Manifest): OwnedView {
    return {
      name: object.metadata.name,
      uid: this.#id('object'),
      resourceVersion: this.#id('rv'),
      deleting: false,
      labels: labelsOf(object),
      content: undefined,
    };
  }

  #storeOf(kind: Manifest['kind']): Map<string, unknown> {
    switch (kind) {
      case 'KataNode':
        return this.kataNodes;
      case 'Pod':
        return this.pods;
      case 'ConfigMap':
        return this.configMaps;
      case 'DaemonSet':
        return this.daemonSets;
      case 'RuntimeClass':
        return this.runtimeClasses;
      case 'Node':
      case 'KataDeployment':
        throw new Error(`a decision must not delete a ${kind}`);
    }
  }

  #hasDaemonSet(claim: string | undefined): boolean {
    return [...this.daemonSets.values()].some((view) => view.labels[LABEL.claim] === claim);
  }

  #createPod(
    nodeName: string,
    { deployment, revision }: { deployment: string; revision: string },
  ): void {
    const uid = this.#id('pod');
    this.pods.set(uid, {
      name: uid,
      uid,
      resourceVersion: this.#id('rv'),
      nodeName,
      deployment,
      revision,
      createdAtMs: this.nowMs,
      deleting: false,
      stages: {},
      unreadySinceMs: undefined,
      waiting: undefined,
    });
  }

  /** Whether anything changed. */
  #endPod(pod: NodePodView): boolean {
    if (!this.lingering) return this.pods.delete(pod.name);
    if (pod.deleting) return false;
    this.pods.set(pod.name, { ...pod, deleting: true });
    return true;
  }

  /** One stage per call. */
  #runStages(pod: NodePodView): boolean {
    const stages: Stage[] =
      pod.revision === 'remove' ? ['remove'] : ['preflight', 'stage', 'activate'];
    const next = stages.find((stage) => pod.stages[stage] === undefined);
    if (next === undefined) return false;
    const answer = this.behaviour(pod.nodeName, next, pod.revision);
    if (answer === 'hang') return false;
    const earlier = Object.values(pod.stages).some(
      (state) => state.kind === 'ended' && state.result.outcome !== 'done',
    );
    const outcome: Outcome = earlier ? 'skipped' : (answer?.outcome ?? 'done');
    const success = this.#success(pod, next);
    const facts = { ...success.facts, ...answer?.facts };
    if (next === 'preflight') facts.installed = this.installed.has(pod.nodeName);
    if (next === 'stage' && !earlier) this.installed.add(pod.nodeName);
    if (next === 'remove' && outcome === 'done') this.installed.delete(pod.nodeName);
    const result: NodeResult = { ...success, ...answer, facts, outcome };
    this.pods.set(pod.name, {
      ...pod,
      stages: { ...pod.stages, [next]: { kind: 'ended', result } },
    });
    return true;
  }

  #success(pod: NodePodView, stage: Stage): NodeResult {
    return {
      resultVersion: 1,
      stage,
      deployment: pod.deployment,
      revision: pod.revision,
      attempt: pod.uid,
      outcome: 'done',
      steps: [{ name: stage, ms: 1, changed: true }],
      facts: {
        kvm: { usable: true },
        bootId: 'boot-1',
        artifacts: { version: '4.1.0', digest: 'd1' },
      },
      handlers: stage === 'activate' ? ['kata-qemu', 'kata-clh', 'kata-fc'] : [],
      engineRestarts: stage === 'activate' ? 1 : 0,
      bytesWritten: 1,
      durationMs: 1,
    };
  }

  #deploymentView(name: string, spec: unknown, generation: number): KataDeploymentView {
    return {
      name,
      uid: this.#id('deployment'),
      resourceVersion: this.#id('rv'),
      generation,
      createdAtMs: START_MS,
      deleting: false,
      finalizers: [],
      annotations: {},
      spec,
      status: undefined,
    };
  }

  #mustHaveDeployment(): KataDeploymentView {
    if (this.deployment === undefined) throw new Error('the KataDeployment is gone');
    return this.deployment;
  }

  #id(prefix: string): string {
    this.#serial += 1;
    return `${prefix}-${this.#serial}`;
  }
}

/** With nodes `worker-1` and up that are Ready. */
export function aWorld(nodes: number, spec: unknown = {}): World {
  const world = new World(spec);
  for (let index = 1; index <= nodes; index += 1) world.addNode(`worker-${index}`);
  return world;
}

export function badResult(
  outcome: Outcome,
  code: ErrorCode,
  parameters: Record<string, string | number> = {},
): Partial<NodeResult> {
  const error = new KataError(code, parameters);
  return {
    outcome,
    error: {
      code,
      step: 'Activate',
      reason: error.reason,
      message: error.message,
      remedy: error.remedy,
    },
  };
}

/** How a node answers whose firmware does not let KVM work. */
export const WITHOUT_KVM = {
  ...badResult('unsupported', 'KATA_E_NO_KVM', { cause: 'no /dev/kvm' }),
  facts: { kvm: { usable: false }, bootId: 'boot-1' },
};

function labelsOf(object: Manifest): Record<string, string> {
  return { ...(object.metadata['labels'] as Record<string, string> | undefined) };
}

function parse(spec: unknown): ParsedSpec {
  const result = kataDeploymentSpec.safeParse(spec ?? {});
  if (result.success) return { ok: true, spec: result.data };
  return {
    ok: false,
    error: new KataError('KATA_E_SPEC_INVALID', { field: 'spec', cause: result.error.message }),
  };
}
