/**
 * docs/reference/kata-node.schema.json: the form of what `kata-node --output json` prints, from the schemas that
 * the program itself parses with.
 */
import { z } from 'zod';
import { nodeResult } from '../src/crds/nodeResult.ts';
import { bundleReport } from '../src/node/artifacts/bundle.ts';
import { plannedSteps, verifyResult } from '../src/node/stages/inspectHost.ts';
import { hostStatus } from '../src/node/stages/status.ts';

const OUTPUTS = {
  NodeResult: {
    schema: nodeResult,
    description: 'Printed by preflight, stage, activate, apply, rollback and remove.',
  },
  VerifyResult: { schema: verifyResult, description: 'Printed by verify.' },
  HostStatus: { schema: hostStatus, description: 'Printed by status.' },
  BundleReport: { schema: bundleReport, description: 'Printed by bundle.' },
  PlannedSteps: { schema: plannedSteps, description: 'Printed by plan.' },
} as const;

export function outputSchema(): string {
  const definitions = Object.entries(OUTPUTS).map(([name, { schema, description }]) => {
    const { $schema: _same, ...definition } = z.toJSONSchema(schema);
    return [name, { description, ...definition }] as const;
  });
  const document = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Output of kata-node',
    description: 'What kata-node prints on standard output with --output json, as its only line.',
    anyOf: definitions.map(([name]) => ({ $ref: `#/$defs/${name}` })),
    $defs: Object.fromEntries(definitions),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}
