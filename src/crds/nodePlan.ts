/**
 * The plan: what one revision asks of a node. Written by the controller into an immutable ConfigMap,
 * read by kata-node; the only thing that flows from the cluster to a node.
 *
 * It must hold everything that changes a node and nothing else: its digest is the revision.
 */
import { z } from 'zod';

export const PLAN_VERSION = 1;

const path = z.string().min(1).max(4096);

/** One archive. `arch` is Go's name (`amd64`, `arm64`, `s390x`, `ppc64le`); without it, for every node. */
const planSource = z.object({
  url: z.string(),
  /** Tried in this order when `url` fails. */
  mirrors: z.array(z.string()).optional(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  arch: z.string().optional(),
  component: z.string().optional(),
});

export const planArtifacts = z.discriminatedUnion('kind', [
  /** Archives inside the node image, under `/artifacts` of the stage container. */
  z.object({ kind: z.literal('bundled') }),
  /** A directory on the host: a tree with `bin/`, archives with an index.json, or archives alone. */
  z.object({ kind: z.literal('hostPath'), path }),
  /** The same in an OCI image, which kubelet mounts into the stage container. `reference` is by digest. */
  z.object({ kind: z.literal('image'), reference: z.string().min(1) }),
  z.object({
    kind: z.literal('sources'),
    sources: z.array(planSource).min(1),
    /** Without it, what the environment of the program says. */
    proxy: z.object({ url: z.string(), noProxy: z.string().optional() }).optional(),
  }),
]);

/** One handler. Paths are relative to the version's directory (`bin/containerd-shim-kata-v2`). */
export const planRuntime = z.object({
  /** `kata-fc`: the name in the engine and of the RuntimeClass. */
  handler: z.string(),
  /** Catalogue entry (`fc`). */
  base: z.string(),
  hypervisor: z.string(),
  shimPath: path,
  /** `share/defaults/kata-containers/configuration-fc.toml` */
  configurationPath: path,
  /** Go's names of the architectures this handler exists on. On another, the node leaves it out. */
  architectures: z.array(z.string()).min(1),
  snapshotter: z.string().optional(),
  /** Exactly these annotations are passed by the engine to the runtime. */
  podAnnotations: z.array(z.string()),
  /**
   * True when the user named the runtime: a missing file is then an error. Default runtimes are
   * installed only as far as the artifacts hold them.
   */
  required: z.boolean(),
});

export const nodePlan = z.object({
  planVersion: z.literal(PLAN_VERSION),
  deployment: z.string(),
  revision: z.string(),
  artifacts: planArtifacts,
  /** The artifacts' VERSION must equal this, when given. */
  version: z.string().optional(),
  requireKVM: z.boolean(),
  runtimes: z.array(planRuntime).min(1).max(64),
  /** The plain handler `kata` is a copy of this handler. */
  defaultRuntime: z.string().optional(),
  engine: z.object({
    type: z.enum(['Auto', 'containerd', 'crio']),
    configPath: path.optional(),
    socket: path.optional(),
    restart: z.enum(['WhenNeeded', 'Never']),
  }),
});

export type NodePlan = z.infer<typeof nodePlan>;
export type PlanRuntime = z.infer<typeof planRuntime>;
export type PlanArtifacts = z.infer<typeof planArtifacts>;

/** File name inside the ConfigMap and the mount. */
export const PLAN_FILE = 'plan.json';
