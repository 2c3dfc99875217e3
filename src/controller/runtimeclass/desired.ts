/**
 * RuntimeClasses from the specification: handler, overhead, scheduling to nodes where the handler is real.
 * They exist from the start: a Pod whose class is missing is refused, one whose class exists waits.
 *
 * A class has one overhead and an equality selector; the handler of a class never changes (the API
 * server would refuse it).
 */
import { z } from 'zod';
import { handlerLabel, LABEL, MANAGED_BY } from '../../crds/names.ts';
import { DEFAULT_RUNTIMES, type KataDeploymentSpec } from '../../crds/kataDeployment.ts';
import { handlerOf, type ResolvedRuntime } from '../revision/plan.ts';
import { fieldManager, type Manifest } from '../writes.ts';
import type { KubeObject } from '../../kube/resource.ts';
import { canonicalQuantity } from './quantity.ts';

/** The plain handler that copies `spec.defaultRuntime`. */
const DEFAULT_HANDLER = 'kata';

/** Of every class that a specification asks for, also of runtimes that no catalogue knows. */
export function classNames(spec: KataDeploymentSpec): string[] {
  const names = spec.runtimes?.map(({ name }) => name) ?? DEFAULT_RUNTIMES;
  const handlers = names.map(handlerOf);
  return spec.defaultRuntime === undefined ? handlers : [...handlers, DEFAULT_HANDLER];
}

export function runtimeClasses(
  deployment: string,
  spec: KataDeploymentSpec,
  runtimes: readonly ResolvedRuntime[],
): Manifest[] {
  const classes = runtimes.map((runtime) => runtimeClass(deployment, runtime.handler, runtime));
  const byDefault = runtimes.find(
    (runtime) => runtime.handler === `kata-${spec.defaultRuntime ?? ''}`,
  );
  if (byDefault !== undefined) classes.push(runtimeClass(deployment, DEFAULT_HANDLER, byDefault));
  return classes;
}

function runtimeClass(
  deployment: string,
  handler: string,
  { spec, entry }: ResolvedRuntime,
): Manifest {
  const wanted = spec?.runtimeClass;
  const tolerations = wanted?.tolerations ?? [];
  return {
    apiVersion: 'node.k8s.io/v1',
    kind: 'RuntimeClass',
    metadata: {
      name: handler,
      labels: { ...wanted?.labels, [LABEL.managedBy]: MANAGED_BY, [LABEL.deployment]: deployment },
    },
    handler,
    overhead: {
      podFixed: {
        cpu: wanted?.overhead?.cpu ?? entry.overhead.cpu,
        memory: wanted?.overhead?.memory ?? entry.overhead.memory,
      },
    },
    scheduling: {
      nodeSelector: {
        ...entry.nodeSelector,
        ...wanted?.nodeSelector,
        [handlerLabel(handler)]: 'true',
      },
      ...(tolerations.length === 0 ? {} : { tolerations }),
    },
  };
}

/**
 * The part of a RuntimeClass that is ours to keep, for comparison with what is wanted: quantities by their value,
 * and of the labels of an object in the cluster those that we have given it. Others (of a deployment tool, of
 * people) are not ours to take away, and an apply would not.
 */
export function runtimeClassContent(raw: KubeObject | Manifest): unknown {
  return {
    handler: raw['handler'],
    overhead: canonicalOverhead(raw['overhead']),
    scheduling: raw['scheduling'],
    labels: ownLabels(raw),
  };
}

const overheadSchema = z.object({ podFixed: z.record(z.string(), z.unknown()) });

function canonicalOverhead(overhead: unknown): unknown {
  const parsed = overheadSchema.safeParse(overhead);
  if (!parsed.success) return overhead;
  const quantities = Object.entries(parsed.data.podFixed);
  return Object.fromEntries(quantities.map(([name, value]) => [name, canonicalQuantity(value)]));
}

const managedFieldsSchema = z.array(
  z.object({
    manager: z.string().optional(),
    operation: z.string().optional(),
    fieldsV1: z
      .object({
        'f:metadata': z.object({ 'f:labels': z.record(z.string(), z.unknown()).optional() }),
      })
      .partial()
      .optional(),
  }),
);

/** All labels of a manifest; of an object in the cluster those that our manager owns. */
function ownLabels({ metadata }: KubeObject | Manifest): Record<string, unknown> {
  const labels = Object.entries(metadata['labels'] ?? {});
  const managed = managedFieldsSchema.safeParse(Reflect.get(metadata, 'managedFields'));
  if (!managed.success) return Object.fromEntries(labels);
  const ours = managed.data
    .filter(({ manager, operation }) => manager === fieldManager('spec') && operation === 'Apply')
    .map(({ fieldsV1 }) => fieldsV1?.['f:metadata']?.['f:labels'] ?? {});
  return Object.fromEntries(labels.filter(([key]) => ours.some((keys) => `f:${key}` in keys)));
}
