/**
 * The two CustomResourceDefinitions as plain objects: names, columns, subresources, and the rules that
 * only the root can carry. Pure; writing them out is the build's work.
 */
import type { z } from 'zod';
import { kataDeploymentSpec, kataDeploymentStatus } from '../kataDeployment.ts';
import { kataNodeSpec, kataNodeStatus } from '../kataNode.ts';
import { GROUP, VERSION } from '../names.ts';
import { structuralSchema, type StructuralSchema } from './structural.ts';

interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'boolean' | 'date';
  readonly jsonPath: string;
  readonly description?: string;
  /** 1: only with `-o wide`. */
  readonly priority?: 1;
}

export interface Kind {
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly description: string;
  readonly schema: StructuralSchema;
  readonly columns: readonly Column[];
}

const age: Column = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };

/** Claim labels are `<name>.<revision>` and at most 63 long, hence no dot and 40 characters. */
const nameRule = {
  rule: "size(self.metadata.name) <= 40 && !self.metadata.name.contains('.')",
  message: 'metadata.name must have at most 40 characters and no dot',
};

export const KATA_DEPLOYMENT: Kind = {
  kind: 'KataDeployment',
  plural: 'katadeployments',
  singular: 'katadeployment',
  shortNames: ['katad'],
  description:
    'KataDeployment says which Kata runtimes are wanted on which nodes; its status says what is, and why.',
  schema: root(kataDeploymentSpec, kataDeploymentStatus, {
    spec: { description: 'What is wanted. An empty spec is complete.', default: {} },
    rules: [nameRule],
  }),
  columns: [
    {
      name: 'Version',
      type: 'string',
      jsonPath: '.status.version',
      description: 'Version of Kata Containers',
    },
    {
      name: 'Desired',
      type: 'integer',
      jsonPath: '.status.nodes.desired',
      description: 'Nodes that shall run Kata',
    },
    {
      name: 'Ready',
      type: 'integer',
      jsonPath: '.status.nodes.ready',
      description: 'Nodes verified at the target revision',
    },
    {
      name: 'Failed',
      type: 'integer',
      jsonPath: '.status.nodes.failed',
      description: 'Nodes that failed or were rolled back',
    },
    {
      name: 'Wave',
      type: 'string',
      jsonPath: '.status.wave',
      description: 'Present wave of all waves',
    },
    age,
  ],
};

export const KATA_NODE: Kind = {
  kind: 'KataNode',
  plural: 'katanodes',
  singular: 'katanode',
  shortNames: ['katan'],
  description:
    'KataNode is what is known of one node, by the name of that node. The controller writes it; do not edit it.',
  schema: root(kataNodeSpec, kataNodeStatus, {
    spec: { description: 'What the record belongs to.' },
    // A KataNode is made by claiming; the API server says so until the first status is written.
    status: { default: { phase: 'Claimed' } },
    rules: [],
  }),
  columns: [
    {
      name: 'Deployment',
      type: 'string',
      jsonPath: '.spec.deployment',
      description: 'KataDeployment that claimed the node',
    },
    {
      name: 'Phase',
      type: 'string',
      jsonPath: '.status.phase',
      description: 'The last thing that is true of the node',
    },
    {
      name: 'Revision',
      type: 'string',
      jsonPath: '.status.revision',
      description: 'Revision it works towards, or has',
    },
    {
      name: 'Kata',
      type: 'string',
      jsonPath: '.status.artifacts.version',
      description: 'Version of Kata Containers',
    },
    {
      name: 'Engine',
      type: 'string',
      jsonPath: '.status.engine.name',
      description: 'Container engine',
    },
    {
      name: 'Engine-Version',
      type: 'string',
      jsonPath: '.status.engine.version',
      description: 'Version of the container engine',
    },
    {
      name: 'Reason',
      type: 'string',
      jsonPath: '.status.error.reason',
      description: 'Why the node is not Ready',
    },
    age,
    {
      name: 'KVM',
      type: 'boolean',
      jsonPath: '.status.kvm.usable',
      description: 'KVM answered',
      priority: 1,
    },
    {
      name: 'Kernel',
      type: 'string',
      jsonPath: '.status.kernel',
      description: "The node's own kernel",
      priority: 1,
    },
    {
      name: 'Restarts',
      type: 'integer',
      jsonPath: '.status.engineRestarts',
      description: 'Engine restarts of the last attempt',
      priority: 1,
    },
    {
      name: 'Message',
      type: 'string',
      jsonPath: '.status.error.message',
      description: 'What went wrong',
      priority: 1,
    },
  ],
};

export const KINDS: readonly Kind[] = [KATA_DEPLOYMENT, KATA_NODE];

/** The manifest of one kind, ready to be dumped. */
export function customResourceDefinition(kind: Kind) {
  const { plural, singular, shortNames } = kind;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${plural}.${GROUP}`,
      labels: { 'app.kubernetes.io/name': 'kata-operator', 'app.kubernetes.io/component': 'crds' },
    },
    spec: {
      group: GROUP,
      scope: 'Cluster',
      names: {
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural,
        singular,
        shortNames: [...shortNames],
        categories: ['kata'],
      },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: kind.columns.map(({ ...column }) => column),
          schema: { openAPIV3Schema: { description: kind.description, ...kind.schema } },
        },
      ],
    },
  };
}

interface RootOptions {
  readonly spec: { readonly description: string; readonly default?: unknown };
  readonly status?: { readonly default: unknown };
  readonly rules: { rule: string; message: string }[];
}

function root(spec: z.ZodType, status: z.ZodType, options: RootOptions): StructuralSchema {
  return {
    type: 'object',
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object' },
      spec: { ...options.spec, ...structuralSchema(spec) },
      status: {
        description: 'What is. Written by the controller only.',
        ...structuralSchema(status),
        ...options.status,
      },
    },
    ...(options.rules.length === 0 ? {} : { 'x-kubernetes-validations': options.rules }),
  };
}
