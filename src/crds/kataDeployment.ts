/**
 * KataDeployment: what is wanted, and what is. The one source of the CRD, its CEL rules, the types
 * and the reference. Everything has a bound: CEL's cost budget refuses rules over unbounded lists.
 *
 * Constructs must stay within what structural schemas can say (no unions but int-or-string): what
 * a schema cannot express is a refinement and, beside it, the CEL rule that says the same.
 */
import { z } from 'zod';
import { artifacts } from './artifacts.ts';
import {
  absolutePath,
  cel,
  durationOfAtLeast,
  form,
  labelSelector,
  qualifiedName,
  toleration,
} from './primitives.ts';
import { rollout } from './rollout.ts';
import { runtime, runtimeName } from './runtimes.ts';

export { ARCHITECTURES } from './artifacts.ts';
export type { RolloutSpec } from './rollout.ts';
export type { RuntimeSpec } from './runtimes.ts';

/** Installed, as far as the artifacts hold them, when spec.runtimes is left out. */
export const DEFAULT_RUNTIMES = ['qemu', 'clh', 'fc'] as const;

const nodes = z.object({
  selector: labelSelector.optional().describe('Without it, every node.'),
  tolerations: z
    .array(toleration)
    .max(16)
    .default([])
    .describe(
      'Of the node Pods. They always tolerate not-ready, unreachable, unschedulable and pressure.',
    ),
  excludeControlPlane: z.boolean().default(true).describe('Leave control-plane nodes out.'),
  requireKVM: z
    .boolean()
    .default(true)
    .describe('Nodes whose KVM does not answer are Unsupported and not touched.'),
  startupTaint: z
    .object({
      key: qualifiedName.describe('Key of the taint.'),
      effect: z
        .enum(['NoSchedule', 'NoExecute', 'PreferNoSchedule'])
        .default('NoSchedule')
        .describe('Effect of the taint.'),
    })
    .optional()
    .describe('Removed from a node when it is Ready.'),
  adopt: z.boolean().default(false).describe('Take over an installation of kata-deploy.'),
});

const engine = z.object({
  type: z
    .enum(['Auto', 'containerd', 'crio'])
    .default('Auto')
    .describe('Auto: the engine that kubelet uses.'),
  configPath: absolutePath
    .optional()
    .describe('Configuration file of the engine, when it is not found by itself.'),
  socket: absolutePath
    .optional()
    .describe('CRI socket of the engine, when it is not found by itself.'),
  restart: z
    .enum(['WhenNeeded', 'Never'])
    .default('WhenNeeded')
    .describe('With Never a node stops at AwaitingRestart.'),
});

const uninstall = z.object({
  policy: z
    .enum(['Wait', 'Drain', 'Force', 'Orphan'])
    .default('Wait')
    .describe('What is done with a node on which sandboxes still run.'),
  timeout: durationOfAtLeast('1s')
    .default('30m')
    .describe('After it, Wait only reports; it never turns destructive.'),
});

const unknownDefault = 'must be the name of one of spec.runtimes';

export const kataDeploymentSpec = z
  .object({
    version: form(
      /^[0-9]+\.[0-9]+\.[0-9]+([-+][-+0-9A-Za-z.]+)?$/,
      64,
      'must be a version such as 4.1.0, without a leading "v"',
    )
      .optional()
      .describe("Version of Kata Containers; refused when the artifacts' VERSION differs."),
    artifacts: artifacts.prefault({}).describe("Where Kata's files come from."),
    nodes: nodes.prefault({}).describe('Which nodes, and what is asked of them.'),
    runtimes: z
      .array(runtime)
      .min(1)
      .max(32)
      .optional()
      .describe('Without it: qemu, clh and fc as far as the artifacts hold them.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] }),
    defaultRuntime: runtimeName
      .optional()
      .describe('The plain handler and class `kata` are a copy of this runtime.'),
    engine: engine.prefault({}).describe('The container engine of the nodes.'),
    rollout: rollout.prefault({}).describe('How a change reaches the nodes.'),
    verify: z
      .enum(['Handlers', 'Sandbox'])
      .default('Handlers')
      .describe(
        'Handlers: the engine serves them. Sandbox: in each of them a Pod reports a kernel of its own.',
      ),
    overhead: z
      .enum(['Fixed', 'Recommend'])
      .default('Fixed')
      .describe('Fixed: the figures of the catalogue. Recommend: measured ones are put on status.'),
    uninstall: uninstall.prefault({}).describe('How it is taken back when the object is deleted.'),
  })
  .refine(
    (spec) =>
      spec.defaultRuntime === undefined || namesOf(spec.runtimes).includes(spec.defaultRuntime),
    {
      path: ['defaultRuntime'],
      message: unknownDefault,
    },
  )
  .meta(
    cel([
      `!has(self.defaultRuntime) || (has(self.runtimes) ? self.runtimes.exists(r, r.name == self.defaultRuntime) : self.defaultRuntime in [${DEFAULT_RUNTIMES.map((name) => `'${name}'`).join(', ')}])`,
      unknownDefault,
      'defaultRuntime',
    ]),
  );

function namesOf(runtimes: readonly { name: string }[] | undefined): readonly string[] {
  return runtimes === undefined ? DEFAULT_RUNTIMES : runtimes.map(({ name }) => name);
}

const condition = z.object({
  type: z.string().max(316).describe('Available, Progressing or Degraded.'),
  status: z.enum(['True', 'False', 'Unknown']).describe('Whether it holds.'),
  observedGeneration: z.int().min(0).optional().describe('metadata.generation that this is about.'),
  lastTransitionTime: z
    .string()
    .max(64)
    .meta({ format: 'date-time' })
    .describe('When status changed last.'),
  reason: z.string().min(1).max(1024).describe('One word for programs.'),
  message: z.string().max(32_768).describe('What it is and what to do next, for people.'),
});
export type Condition = z.infer<typeof condition>;

const count = z.int().min(0).optional();

const failure = z.object({
  node: z.string().max(253).describe('Name of the node.'),
  step: z.string().max(64).describe('Stage and step that ended badly.'),
  reason: z.string().max(128).describe('One word for programs (reference of errors).'),
  message: z.string().max(1024).describe('What happened, and what to do next.'),
  since: z.string().max(64).describe('When it failed (RFC 3339).'),
});

export const kataDeploymentStatus = z.object({
  observedGeneration: z.int().optional().describe('metadata.generation that this status is about.'),
  conditions: z
    .array(condition)
    .max(8)
    .optional()
    .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] })
    .describe('Available, Progressing, Degraded.'),
  version: z
    .string()
    .max(64)
    .optional()
    .describe('VERSION of the artifacts, as nodes reported it.'),
  targetRevision: z.string().max(63).optional().describe('Revision of the present spec.'),
  currentRevision: z
    .string()
    .max(63)
    .optional()
    .describe('Revision that every Ready node had when Available was last True.'),
  nodes: z
    .object({
      desired: count.describe('Selected nodes that can run Kata, as far as known.'),
      ready: count.describe('Verified at the target revision.'),
      failed: count.describe('Failed or rolled back.'),
      skipped: count.describe(
        'Selected nodes to which no Pod of ours can go: taints, another system.',
      ),
      unsupported: count.describe('Cannot run Kata, for the reason on their KataNode.'),
      inProgress: count.describe('Claimed and not yet at an end.'),
      waiting: count.describe('Not yet claimed.'),
      removing: count.describe('Being taken back.'),
    })
    .optional()
    .describe('How many nodes are where.'),
  wave: z.string().max(16).optional().describe('Present wave of all waves, such as 2/3.'),
  lastProgressTime: z
    .string()
    .max(64)
    .meta({ format: 'date-time' })
    .optional()
    .describe('When a node was last claimed or came to an end; progressDeadline counts from here.'),
  failures: z.array(failure).max(20).optional().describe('At most 20; KataNode objects hold all.'),
  runtimeClasses: z
    .array(z.string().max(253))
    .max(160)
    .optional()
    .describe('RuntimeClasses in force.'),
});

export type KataDeploymentSpec = z.output<typeof kataDeploymentSpec>;
export type KataDeploymentSpecInput = z.input<typeof kataDeploymentSpec>;
export type KataDeploymentStatus = z.infer<typeof kataDeploymentStatus>;
