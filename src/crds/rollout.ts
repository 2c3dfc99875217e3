/**
 * spec.rollout: how fast, in what order, and when to stop. Owns bounds and defaults;
 * the policy itself is the controller's.
 */
import { z } from 'zod';
import {
  countOrPercent,
  duration,
  durationOfAtLeast,
  form,
  labelSelector,
  qualifiedName,
} from './primitives.ts';

const maintenanceWindow = z.object({
  schedule: form(
    /^[0-9A-Za-z*\/,-]+( [0-9A-Za-z*\/,-]+){4}$/,
    128,
    'must be five fields of cron separated by single spaces, such as "0 22 * * 1-5"',
  ).describe('Start, in cron form, UTC.'),
  duration: durationOfAtLeast('1m').describe('How long the window stays open.'),
});

const drain = z.object({
  enabled: z.boolean().default(false).describe('Adding a handler needs no drain.'),
  timeout: durationOfAtLeast('1s')
    .default('10m')
    .describe('Then the node is given up and uncordoned.'),
  waitForJobs: labelSelector.optional().describe('Pods that are waited for, never evicted.'),
});

export const rollout = z.object({
  maxParallel: countOrPercent
    .prefault('10%')
    .describe('Nodes worked on at the same time: a number or a percentage.'),
  maxUnavailable: countOrPercent
    .prefault('10%')
    .describe(
      'Nodes of the pool that may be unavailable, whoever made them so: a number or a percentage.',
    ),
  waves: z
    .array(countOrPercent)
    .min(1)
    .max(16)
    .prefault(['1', '10%', '100%'])
    .describe('Nodes reached after each wave: numbers or percentages.'),
  soak: duration.default('60s').describe('Time a wave must be Ready before the next starts.'),
  approval: z
    .enum(['Automatic', 'PerWave'])
    .default('Automatic')
    .describe('With PerWave a person releases each wave.'),
  failureBudget: z
    .int()
    .min(0)
    .max(5000)
    .default(1)
    .describe('Failed nodes beyond this number stop new claims.'),
  order: z
    .object({ first: labelSelector.optional().describe('Nodes that match go first (canaries).') })
    .optional()
    .describe('Order of the nodes; control-plane nodes are always last and one at a time.'),
  topologyKey: qualifiedName
    .optional()
    .describe('Node label: only nodes of one value of it are worked on at the same time.'),
  windows: z
    .array(maintenanceWindow)
    .max(16)
    .default([])
    .describe('Work starts only inside these. Empty: always.'),
  paused: z.boolean().default(false).describe('No node is claimed; nodes in work are finished.'),
  drain: drain.prefault({}).describe('Evict Pods before a node is changed.'),
  nodeTimeout: durationOfAtLeast('1s')
    .default('10m')
    .describe('After it a node that reports nothing has failed.'),
  progressDeadline: durationOfAtLeast('1s')
    .default('30m')
    .describe('Without progress for so long, Progressing turns False with reason Stalled.'),
  onFailure: z
    .enum(['Rollback', 'Leave'])
    .default('Rollback')
    .describe(
      'A node that failed is as it was before by its own doing. Rollback: it is given the revision at which it was last Ready again, and so verified and repaired at that one. Leave: it is left there.',
    ),
});

export type RolloutSpec = z.output<typeof rollout>;
