/**
 * spec.runtimes[]: one Kata runtime under one name, and the RuntimeClass that goes with it.
 * Owns their form only: which names exist is the catalogue's knowledge, and the controller reports it.
 */
import { z } from 'zod';
import { architecture } from './artifacts.ts';
import { dnsLabel, form, labels, quantity, toleration } from './primitives.ts';

export const runtimeName = dnsLabel(40);

const overhead = z.object({
  cpu: quantity.optional().describe('Of the sandbox itself, beside its containers.'),
  memory: quantity.optional().describe('Of the sandbox itself, beside its containers.'),
});

const runtimeClass = z.object({
  overhead: overhead.optional().describe("Overrides the catalogue's figure."),
  nodeSelector: labels.optional().describe('In addition to the label of the handler.'),
  tolerations: z.array(toleration).max(16).optional().describe('Given to every Pod of the class.'),
  labels: labels.optional().describe('Labels of the RuntimeClass object.'),
  perArchitecture: z
    .boolean()
    .default(false)
    .describe('One more class per architecture (kata-fc-arm64), each with its own overhead.'),
});

export const runtime = z.object({
  name: runtimeName.describe('Handler and RuntimeClass are kata-<name>.'),
  base: runtimeName.optional().describe('Entry of the catalogue, when the name is your own.'),
  config: z
    .record(z.string(), z.unknown())
    .optional()
    .meta({ type: 'object', 'x-kubernetes-preserve-unknown-fields': true })
    .describe("Options of Kata's configuration, by section."),
  extraToml: z
    .string()
    .max(16_384)
    .optional()
    .describe('Raw drop-in for keys newer than this version knows.'),
  allowedAnnotations: z
    .array(
      form(
        /^io\.katacontainers\.[A-Za-z0-9_.]*[A-Za-z0-9_]$/,
        253,
        'must be the whole name of one annotation io.katacontainers.…, not a pattern',
      ),
    )
    .max(64)
    .default([])
    .meta({ 'x-kubernetes-list-type': 'set' })
    .describe('Annotations io.katacontainers.… that a Pod may set. Empty: none.'),
  snapshotter: z
    .object({
      name: form(
        /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/,
        63,
        'must be Auto or the name of a snapshotter',
      )
        .default('Auto')
        .describe('Auto, or the name of a snapshotter of the engine.'),
      provision: z
        .enum(['Never', 'WhenNeeded'])
        .default('Never')
        .describe('Whether kata-operator sets the snapshotter up.'),
    })
    .optional()
    .describe("Which of the engine's snapshotters holds the root filesystems of this runtime."),
  runtimeClass: runtimeClass.prefault({}).describe('The RuntimeClass that Pods name.'),
  architectures: z
    .array(architecture)
    .min(1)
    .max(4)
    .optional()
    .meta({ 'x-kubernetes-list-type': 'set' })
    .describe('Fewer than the catalogue knows.'),
});

export type RuntimeSpec = z.output<typeof runtime>;
