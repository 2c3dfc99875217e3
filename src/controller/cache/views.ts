/**
 * What the controller remembers of each object: a small frozen view, made once when an object arrives.
 * A Node of 18 KB becomes 1 KB; nothing that is not decided upon is kept.
 *
 * Throws for an object of a form that the API server would not take: the reflector logs it and keeps what it knew of
 * the object. The specification of a KataDeployment is parsed later, where a bad one can be answered.
 */
import { z } from 'zod';
import {
  kataNodeSpec,
  kataNodeStatus,
  type KataNodeSpec,
  type KataNodeStatus,
} from '../../crds/kataNode.ts';
import { ANNOTATION } from '../../crds/names.ts';
import type { KubeObject } from '../../kube/resource.ts';

export interface NodeView {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  readonly ready: boolean;
  /** When `ready` last changed; 0 when the node never said. */
  readonly readyChangedMs: number;
  /** A person wants the rollout to stay away from it. */
  readonly skip: boolean;
  readonly unschedulable: boolean;
  readonly controlPlane: boolean;
  /** Go's name of the architecture. */
  readonly arch: string;
  readonly kernel: string;
  readonly bootId: string;
  /** Undefined on engines that do not report handlers (containerd 1.x): then absence means nothing. */
  readonly runtimeHandlers: readonly string[] | undefined;
  /** Go's name of the operating system. */
  readonly os: string;
  /** As kubelet says it: `v1.36.3`, `v1.30.4+k3s1`. */
  readonly kubeletVersion: string;
  readonly taints: readonly Taint[];
}

export interface Taint {
  readonly key: string;
  readonly value: string;
  readonly effect: string;
}

export interface KataNodeView {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly deleting: boolean;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: KataNodeSpec;
  readonly status: KataNodeStatus | undefined;
}

export interface KataDeploymentView {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation: number;
  readonly createdAtMs: number;
  readonly deleting: boolean;
  readonly finalizers: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
  /** Not parsed yet: a bad spec must become a condition, not a lost object. */
  readonly spec: unknown;
  readonly status: unknown;
}

/** ConfigMaps and DaemonSets of ours, and RuntimeClasses, also those of others. */
export interface OwnedView {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly deleting: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** The part that is compared with what is wanted; undefined for immutable objects. */
  readonly content: unknown;
}

const nodeSchema = z.object({
  spec: z
    .object({
      unschedulable: z.boolean().default(false),
      taints: z
        .array(z.object({ key: z.string(), value: z.string().default(''), effect: z.string() }))
        .default([]),
    })
    .prefault({}),
  status: z
    .object({
      conditions: z
        .array(
          z.object({
            type: z.string(),
            status: z.string(),
            lastTransitionTime: z.string().optional(),
          }),
        )
        .default([]),
      nodeInfo: z
        .object({
          architecture: z.string().default(''),
          operatingSystem: z.string().default('linux'),
          kernelVersion: z.string().default(''),
          bootID: z.string().default(''),
          kubeletVersion: z.string().default(''),
        })
        .prefault({}),
      runtimeHandlers: z.array(z.object({ name: z.string().default('') })).optional(),
    })
    .prefault({}),
});

const CONTROL_PLANE_LABELS = [
  'node-role.kubernetes.io/control-plane',
  'node-role.kubernetes.io/master',
];

export function nodeView(raw: KubeObject): NodeView {
  const { spec, status } = nodeSchema.parse({
    spec: raw['spec'] ?? {},
    status: raw['status'] ?? {},
  });
  const labels = raw.metadata.labels ?? {};
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  return Object.freeze({
    ...identity(raw),
    labels,
    createdAtMs: timeMs(raw.metadata.creationTimestamp) ?? 0,
    ready: ready?.status === 'True',
    readyChangedMs: timeMs(ready?.lastTransitionTime) ?? 0,
    skip: raw.metadata.annotations?.[ANNOTATION.skip] === 'true',
    unschedulable: spec.unschedulable,
    controlPlane:
      CONTROL_PLANE_LABELS.some((key) => key in labels) ||
      spec.taints.some((t) => CONTROL_PLANE_LABELS.includes(t.key)),
    arch: status.nodeInfo.architecture,
    kernel: status.nodeInfo.kernelVersion,
    bootId: status.nodeInfo.bootID,
    runtimeHandlers: status.runtimeHandlers?.map((handler) => handler.name),
    os: status.nodeInfo.operatingSystem,
    kubeletVersion: status.nodeInfo.kubeletVersion,
    taints: spec.taints,
  });
}

export function kataNodeView(raw: KubeObject): KataNodeView {
  const status = kataNodeStatus.safeParse(raw['status']);
  return Object.freeze({
    ...identity(raw),
    deleting: raw.metadata.deletionTimestamp !== undefined,
    annotations: raw.metadata.annotations ?? {},
    spec: kataNodeSpec.parse(raw['spec']),
    status: status.success ? status.data : undefined,
  });
}

export function kataDeploymentView(raw: KubeObject): KataDeploymentView {
  return Object.freeze({
    ...identity(raw),
    generation: raw.metadata.generation ?? 0,
    createdAtMs: timeMs(raw.metadata.creationTimestamp) ?? 0,
    deleting: raw.metadata.deletionTimestamp !== undefined,
    finalizers: raw.metadata.finalizers ?? [],
    annotations: raw.metadata.annotations ?? {},
    spec: raw['spec'],
    status: raw['status'],
  });
}

/** `contentOf` picks what is compared with the wanted object. */
export function ownedView(
  contentOf: (raw: KubeObject) => unknown = () => undefined,
): (raw: KubeObject) => OwnedView {
  return (raw) =>
    Object.freeze({
      ...identity(raw),
      deleting: raw.metadata.deletionTimestamp !== undefined,
      labels: raw.metadata.labels ?? {},
      content: contentOf(raw),
    });
}

function identity(raw: KubeObject): { name: string; uid: string; resourceVersion: string } {
  return {
    name: raw.metadata.name,
    uid: raw.metadata.uid ?? '',
    resourceVersion: raw.metadata.resourceVersion ?? '',
  };
}

export function timeMs(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}
