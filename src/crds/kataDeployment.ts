/**
 * KataDeployment: what is wanted, and what is. The one source of the CRD, its CEL rules, the types
 * and the reference. Everything has a bound: CEL's cost budget refuses rules over unbounded lists.
 *
 * Constructs must stay within what structural schemas can say (no unions, no refinements):
 * every rule that zod cannot express is CEL, put beside the field it guards.
 */
import { z } from 'zod';
import {
  absolutePath,
  cel,
  countOrPercent,
  duration,
  labelSelector,
  labels,
  quantity,
  reference,
  toleration,
} from './primitives.ts';

const handlerName = z
  .string()
  .min(1)
  .max(40)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);

export const ARCHITECTURES = ['amd64', 'arm64', 's390x', 'ppc64le'] as const;
const architecture = z.enum(ARCHITECTURES);

const artifactSource = z.object({
  url: z
    .string()
    .min(1)
    .max(2048)
    .regex(/^https?:\/\/[^\s]+$/)
    .describe('Archive (.tar.zst, .tar.xz or .tar.gz) with the layout of kata-static.'),
  mirrors: z.array(z.string().max(2048)).max(8).optional().describe('Tried in order when url fails.'),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .describe('Digest of the archive, in lower-case hexadecimal.'),
  arch: architecture.optional().describe('Only for nodes of this architecture; without it, for all.'),
  component: z.string().min(1).max(63).optional().describe('What the archive carries, for people and messages.'),
});

const artifacts = z
  .object({
    bundled: z.object({}).optional().describe('The archives inside the node image (the default).'),
    sources: z
      .array(artifactSource)
      .min(1)
      .max(32)
      .optional()
      .describe('Archives by URL and digest; several overlay each other in this order.'),
    image: z
      .object({
        reference: z
          .string()
          .max(1024)
          .regex(/^[^\s@]+@sha256:[0-9a-f]{64}$/)
          .describe('OCI image by digest, mounted by kubelet as an image volume.'),
      })
      .optional(),
    hostPath: z.object({ path: absolutePath }).optional().describe('A directory that is already on every node.'),
    credentialsSecret: reference.optional().describe('Secret in the node namespace, mounted by kubelet; the controller never reads it.'),
    proxy: z.object({ https: z.string().max(2048).optional(), noProxy: z.string().max(2048).optional() }).optional(),
    caConfigMap: reference.optional().describe('ConfigMap in the node namespace with ca.crt.'),
  })
  .meta(
    cel([
      '(has(self.bundled) ? 1 : 0) + (has(self.sources) ? 1 : 0) + (has(self.image) ? 1 : 0) + (has(self.hostPath) ? 1 : 0) <= 1',
      'set exactly one of bundled, sources, image and hostPath',
    ]),
  );

const overhead = z.object({ cpu: quantity.optional(), memory: quantity.optional() });

const runtimeClass = z.object({
  overhead: overhead.optional().describe("Overrides the catalogue's figure."),
  nodeSelector: labels.optional(),
  tolerations: z.array(toleration).max(16).optional(),
  labels: labels.optional(),
  perArchitecture: z.boolean().default(false).describe('One more class per architecture (kata-fc-arm64), each with its own overhead.'),
});

const runtime = z.object({
  name: handlerName.describe('Handler and RuntimeClass are kata-<name>.'),
  base: handlerName.optional().describe('Entry of the catalogue, when the name is your own.'),
  config: z
    .record(z.string(), z.unknown())
    .optional()
    .meta({ type: 'object', 'x-kubernetes-preserve-unknown-fields': true })
    .describe("Options of Kata's configuration, by section."),
  extraToml: z.string().max(16_384).optional().describe('Raw drop-in for keys newer than this version knows.'),
  allowedAnnotations: z
    .array(z.string().min(1).max(253))
    .max(64)
    .default([])
    .describe('Annotations io.katacontainers.* that a Pod may set. Empty: none.'),
  snapshotter: z
    .object({
      name: z.string().min(1).max(63).default('Auto').describe('Auto, or the name of a snapshotter of the engine.'),
      provision: z.enum(['Never', 'WhenNeeded']).default('Never'),
    })
    .optional(),
  runtimeClass: runtimeClass.prefault({}),
  architectures: z.array(architecture).max(4).optional().describe('Fewer than the catalogue knows.'),
});

const nodes = z.object({
  selector: labelSelector.optional().describe('Without it, every node.'),
  tolerations: z
    .array(toleration)
    .max(16)
    .default([])
    .describe('Of the node Pods. They always tolerate not-ready, unreachable, unschedulable and pressure.'),
  excludeControlPlane: z.boolean().default(true),
  requireKVM: z.boolean().default(true).describe('Nodes whose KVM does not answer are Unsupported and not touched.'),
  startupTaint: z
    .object({ key: z.string().min(1).max(317), effect: z.enum(['NoSchedule', 'NoExecute', 'PreferNoSchedule']).default('NoSchedule') })
    .optional()
    .describe('Removed from a node when it is Ready.'),
  adopt: z.boolean().default(false).describe('Take over an installation of kata-deploy.'),
});

const engine = z.object({
  type: z.enum(['Auto', 'containerd', 'crio']).default('Auto'),
  configPath: absolutePath.optional(),
  socket: absolutePath.optional(),
  restart: z.enum(['WhenNeeded', 'Never']).default('WhenNeeded').describe('With Never a node stops at AwaitingRestart.'),
});

const maintenanceWindow = z.object({
  schedule: z.string().min(9).max(128).describe('Start, in cron form, UTC.'),
  duration: duration,
});

const rollout = z.object({
  maxParallel: countOrPercent('10%').describe('Nodes worked on at the same time.'),
  maxUnavailable: countOrPercent('10%').describe('Nodes of the pool that may be unavailable, whoever made them so.'),
  waves: z
    .array(z.string().regex(/^([1-9][0-9]{0,4}|[1-9][0-9]?%|100%)$/))
    .min(1)
    .max(16)
    .default(['1', '10%', '100%'])
    .describe('Nodes reached after each wave: counts or percentages.'),
  soak: duration.default('60s').describe('Time a wave must be Ready before the next starts.'),
  approval: z.enum(['Automatic', 'PerWave']).default('Automatic'),
  failureBudget: z.int().min(0).max(5000).default(1).describe('Failed nodes beyond this stop new claims.'),
  order: z
    .object({ first: labelSelector.optional() })
    .optional()
    .describe('Nodes that match go first (canaries).'),
  topologyKey: z.string().min(1).max(317).optional(),
  windows: z.array(maintenanceWindow).max(16).default([]),
  paused: z.boolean().default(false),
  drain: z
    .object({
      enabled: z.boolean().default(false),
      timeout: duration.default('10m'),
      waitForJobs: labelSelector.optional(),
    })
    .prefault({}),
  nodeTimeout: duration.default('10m'),
  progressDeadline: duration.default('30m'),
  onFailure: z.enum(['Rollback', 'Leave']).default('Rollback'),
});

export const kataDeploymentSpec = z
  .object({
    version: z.string().min(1).max(64).optional().describe("Refused when the artifacts' VERSION differs."),
    artifacts: artifacts.prefault({}),
    nodes: nodes.prefault({}),
    runtimes: z
      .array(runtime)
      .max(32)
      .optional()
      .describe('Without it: qemu, clh and fc as far as the artifacts hold them.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] }),
    defaultRuntime: handlerName.optional().describe('The plain handler and class `kata` are a copy of this runtime.'),
    engine: engine.prefault({}),
    rollout: rollout.prefault({}),
    verify: z.enum(['Handlers', 'Sandbox']).default('Handlers'),
    overhead: z.enum(['Fixed', 'Recommend']).default('Fixed'),
    uninstall: z
      .object({
        policy: z.enum(['Wait', 'Drain', 'Force', 'Orphan']).default('Wait'),
        timeout: duration.default('30m').describe('After it, Wait only reports; it never turns destructive.'),
      })
      .prefault({}),
  })
  .meta(
    cel([
      "!has(self.defaultRuntime) || (has(self.runtimes) ? self.runtimes.exists(r, r.name == self.defaultRuntime) : self.defaultRuntime in ['qemu', 'clh', 'fc'])",
      'defaultRuntime must be the name of one of spec.runtimes',
      'defaultRuntime',
    ]),
  );

const condition = z.object({
  type: z.string().max(316),
  status: z.enum(['True', 'False', 'Unknown']),
  observedGeneration: z.int().min(0).optional(),
  lastTransitionTime: z.string().max(64).meta({ format: 'date-time' }),
  reason: z.string().min(1).max(1024),
  message: z.string().max(32_768),
});
export type Condition = z.infer<typeof condition>;

const count = z.int().min(0).optional();

export const kataDeploymentStatus = z.object({
  observedGeneration: z.int().optional(),
  conditions: z
    .array(condition)
    .max(8)
    .optional()
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] }),
  /** VERSION of the artifacts, as nodes reported it. */
  version: z.string().max(64).optional(),
  targetRevision: z.string().max(63).optional(),
  /** Revision that every Ready node had when Available was last True. */
  currentRevision: z.string().max(63).optional(),
  nodes: z
    .object({
      desired: count.describe('Selected nodes that can run Kata, as far as known.'),
      ready: count,
      failed: count,
      unsupported: count,
      inProgress: count,
      waiting: count,
      removing: count,
    })
    .optional(),
  wave: z.string().max(16).optional(),
  failures: z
    .array(
      z.object({
        node: z.string().max(253),
        step: z.string().max(64),
        reason: z.string().max(128),
        message: z.string().max(1024),
        since: z.string().max(64),
      }),
    )
    .max(20)
    .optional()
    .describe('At most 20; KataNode objects hold all.'),
  runtimeClasses: z.array(z.string().max(253)).max(160).optional(),
});

export type KataDeploymentSpec = z.output<typeof kataDeploymentSpec>;
export type KataDeploymentSpecInput = z.input<typeof kataDeploymentSpec>;
export type KataDeploymentStatus = z.infer<typeof kataDeploymentStatus>;
export type RuntimeSpec = z.output<typeof runtime>;
export type RolloutSpec = z.output<typeof rollout>;
