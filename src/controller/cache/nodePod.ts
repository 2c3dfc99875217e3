/**
 * The Pods of kata-node as the controller sees them: which stage has ended with which result.
 * The only way by which a node reports. A result counts when it names this Pod's UID and revision;
 * everything else is Unknown, never success.
 */
import { z } from 'zod';
import { LABEL, parseClaim } from '../../crds/names.ts';
import { nodeResult, STAGES, type NodeResult, type Stage } from '../../crds/nodeResult.ts';
import type { KubeObject } from '../../kube/resource.ts';
import { timeMs } from './views.ts';

export type StageState =
  | { readonly kind: 'pending' }
  | { readonly kind: 'ended'; readonly result: NodeResult }
  | { readonly kind: 'unknown'; readonly cause: string };

export interface NodePodView {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly nodeName: string;
  readonly deployment: string;
  readonly revision: string;
  readonly createdAtMs: number;
  readonly deleting: boolean;
  readonly stages: Readonly<Partial<Record<Stage, StageState>>>;
  /** Since when the resident container has not been ready although all stages ended; undefined when it is. */
  readonly unreadySinceMs: number | undefined;
  /** What the kubelet says about a container that cannot start (image, mount). */
  readonly waiting: string | undefined;
}

const terminated = z.object({
  message: z.string().optional(),
  reason: z.string().optional(),
  exitCode: z.number(),
});
const containerState = z.object({
  terminated: terminated.optional(),
  waiting: z.object({ reason: z.string().optional(), message: z.string().optional() }).optional(),
});
const containerStatus = z.object({
  name: z.string(),
  state: containerState.default({}),
  lastState: containerState.default({}),
});
const podSchema = z.object({
  spec: z.object({ nodeName: z.string().default('') }).prefault({}),
  status: z
    .object({
      conditions: z
        .array(
          z.object({
            type: z.string(),
            status: z.string(),
            lastTransitionTime: z.string().nullish(),
          }),
        )
        .default([]),
      initContainerStatuses: z.array(containerStatus).default([]),
      containerStatuses: z.array(containerStatus).default([]),
    })
    .prefault({}),
});

/** Waiting reasons that are part of a normal start. */
const USUAL = new Set(['PodInitializing', 'ContainerCreating']);

export function nodePodView(raw: KubeObject): NodePodView {
  const { spec, status } = podSchema.parse({
    spec: raw['spec'] ?? {},
    status: raw['status'] ?? {},
  });
  const uid = raw.metadata.uid ?? '';
  const claim = parseClaim(raw.metadata.labels?.[LABEL.claim] ?? '');
  const stages: Partial<Record<Stage, StageState>> = {};
  for (const container of status.initContainerStatuses) {
    const stage = STAGES.find((name) => name === container.name);
    if (stage !== undefined)
      stages[stage] = stageState(container, stage, uid, claim?.revision ?? '');
  }
  const waiting = [...status.initContainerStatuses, ...status.containerStatuses]
    .map((container) => container.state.waiting)
    .find((state) => state?.reason !== undefined && !USUAL.has(state.reason));
  const ready = status.conditions.find((condition) => condition.type === 'Ready');
  return Object.freeze({
    name: raw.metadata.name,
    uid,
    resourceVersion: raw.metadata.resourceVersion ?? '',
    nodeName: spec.nodeName,
    deployment: claim?.deployment ?? '',
    revision: claim?.revision ?? '',
    createdAtMs: timeMs(raw.metadata.creationTimestamp) ?? 0,
    deleting: raw.metadata.deletionTimestamp !== undefined,
    stages,
    unreadySinceMs:
      ready?.status === 'False' ? timeMs(ready.lastTransitionTime ?? undefined) : undefined,
    waiting:
      waiting === undefined
        ? undefined
        : `${waiting.reason ?? ''}${waiting.message === undefined ? '' : `: ${waiting.message}`}`,
  });
}

function stageState(
  container: z.infer<typeof containerStatus>,
  stage: Stage,
  uid: string,
  revision: string,
): StageState {
  // A container that kubelet runs again (reboot) has its last result in lastState until it ends anew.
  const ended = container.state.terminated ?? container.lastState.terminated;
  if (ended === undefined) return { kind: 'pending' };
  const unknown = (cause: string): StageState => ({ kind: 'unknown', cause });
  if (ended.message === undefined || ended.message === '') {
    return unknown(
      `no message (exit code ${ended.exitCode}${ended.reason === undefined ? '' : `, ${ended.reason}`})`,
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(ended.message);
  } catch {
    return unknown(`not JSON: ${ended.message.slice(0, 200)}`);
  }
  const parsed = nodeResult.safeParse(json);
  if (!parsed.success) return unknown('not of the expected form');
  if (parsed.data.attempt !== uid) return unknown(`of another attempt (${parsed.data.attempt})`);
  if (parsed.data.stage !== stage) return unknown(`of another stage (${parsed.data.stage})`);
  if (parsed.data.revision !== revision)
    return unknown(`of another revision (${parsed.data.revision})`);
  return { kind: 'ended', result: parsed.data };
}
