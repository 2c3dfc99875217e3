/**
 * From a specification to the plan of one revision. Pure: the same specification and node image give
 * the same bytes, and the digest of those bytes is the revision.
 *
 * Whatever changes a node must be in the plan; whatever does not (classes, labels, rollout) must not,
 * so that such a change touches no node.
 */
import { createHash } from 'node:crypto';
import { KataError } from '../../errors.ts';
import {
  DEFAULT_RUNTIMES,
  type KataDeploymentSpec,
  type RuntimeSpec,
} from '../../crds/kataDeployment.ts';
import { REMOVE } from '../../crds/names.ts';
import {
  PLAN_VERSION,
  type NodePlan,
  type PlanArtifacts,
  type PlanRuntime,
} from '../../crds/nodePlan.ts';
import { findRuntime, nearestName, type CatalogueEntry } from '../../kata/catalogue.ts';

export interface Revision {
  /** Ten hexadecimal characters, or `remove`. */
  readonly name: string;
  readonly plan: NodePlan;
}

/** A runtime of the specification with what the catalogue knows of it. */
export interface ResolvedRuntime {
  readonly handler: string;
  readonly spec: RuntimeSpec | undefined;
  readonly entry: CatalogueEntry;
}

/** Throws KATA_E_UNKNOWN_RUNTIME, with the nearest name. */
export function resolveRuntimes(spec: KataDeploymentSpec): ResolvedRuntime[] {
  if (spec.runtimes === undefined) {
    return DEFAULT_RUNTIMES.map((name) => ({
      handler: handlerOf(name),
      spec: undefined,
      entry: catalogueEntry(name),
    }));
  }
  return spec.runtimes.map((runtime) => ({
    handler: handlerOf(runtime.name),
    spec: runtime,
    entry: catalogueEntry(runtime.base ?? runtime.name),
  }));
}

export function handlerOf(runtimeName: string): string {
  return `kata-${runtimeName}`;
}

/** `nodeImage` is part of the digest: it carries the program and, when bundled, the artifacts. */
export function installRevision(
  deployment: string,
  spec: KataDeploymentSpec,
  nodeImage: string,
): Revision {
  const plan = planOf(deployment, spec, resolveRuntimes(spec).map(planRuntime));
  const digest = createHash('sha256')
    .update(JSON.stringify({ plan, nodeImage }))
    .digest('hex')
    .slice(0, 10);
  return { name: digest, plan: { ...plan, revision: digest } };
}

/** Removal needs to know the engine's overrides and nothing else; the host's own record says what to take back. */
export function removeRevision(deployment: string, spec: KataDeploymentSpec): Revision {
  const runtimes = DEFAULT_RUNTIMES.map((name) =>
    planRuntime({ handler: handlerOf(name), spec: undefined, entry: catalogueEntry(name) }),
  );
  return { name: REMOVE, plan: { ...planOf(deployment, spec, runtimes), revision: REMOVE } };
}

function planOf(deployment: string, spec: KataDeploymentSpec, runtimes: PlanRuntime[]): NodePlan {
  return {
    planVersion: PLAN_VERSION,
    deployment,
    revision: '',
    artifacts: planArtifactsOf(spec),
    ...(spec.version === undefined ? {} : { version: spec.version }),
    requireKVM: spec.nodes.requireKVM,
    runtimes,
    ...(spec.defaultRuntime === undefined
      ? {}
      : { defaultRuntime: handlerOf(spec.defaultRuntime) }),
    engine: {
      type: spec.engine.type,
      restart: spec.engine.restart,
      ...(spec.engine.configPath === undefined ? {} : { configPath: spec.engine.configPath }),
      ...(spec.engine.socket === undefined ? {} : { socket: spec.engine.socket }),
    },
  };
}

function planArtifactsOf(spec: KataDeploymentSpec): PlanArtifacts {
  const { sources, image, hostPath, proxy } = spec.artifacts;
  if (hostPath !== undefined) return { kind: 'hostPath', path: hostPath.path };
  if (image !== undefined) return { kind: 'image', reference: image.reference };
  if (sources === undefined) return { kind: 'bundled' };
  return {
    kind: 'sources',
    sources: sources.map((source) => ({
      url: source.url,
      ...(source.mirrors === undefined ? {} : { mirrors: source.mirrors }),
      sha256: source.sha256,
      ...(source.arch === undefined ? {} : { arch: source.arch }),
      ...(source.component === undefined ? {} : { component: source.component }),
    })),
    ...(proxy?.https === undefined ? {} : { proxy: { url: proxy.https, noProxy: proxy.noProxy } }),
  };
}

function planRuntime({ handler, spec, entry }: ResolvedRuntime): PlanRuntime {
  const architectures = entry.architectures.filter(
    (arch) => spec?.architectures?.includes(arch) ?? true,
  );
  if (architectures.length === 0) {
    throw new KataError('KATA_E_SPEC_INVALID', {
      field: `spec.runtimes[${spec?.name ?? entry.name}].architectures`,
      cause: `${entry.name} exists for ${entry.architectures.join(', ')} only`,
    });
  }
  const snapshotter = spec?.snapshotter?.name;
  return {
    handler,
    base: entry.name,
    hypervisor: entry.hypervisor,
    shimPath: entry.shimPath,
    configurationPath: entry.configurationPath,
    architectures,
    ...(snapshotter === undefined || snapshotter === 'Auto' ? {} : { snapshotter }),
    podAnnotations: [...(spec?.allowedAnnotations ?? [])].sort(),
    required: spec !== undefined,
  };
}

function catalogueEntry(name: string): CatalogueEntry {
  const entry = findRuntime(name);
  if (entry !== undefined) return entry;
  const nearest = nearestName(name);
  throw new KataError('KATA_E_UNKNOWN_RUNTIME', {
    name,
    nearest: nearest === undefined ? '' : `; did you mean "${nearest}"?`,
  });
}
