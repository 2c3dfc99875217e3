/**
 * Every error that a user can meet, in one table: code, what it says, whether trying again can help,
 * the reason shown in conditions and results, and what to do next. Its rows are in errorTable/, by where they arise.
 *
 * Owns the wording; docs/reference/errors.md is made from it. It must never carry a secret: parameters are names,
 * paths, numbers and digests.
 */
import { ACTIVATION } from './errorTable/activation.ts';
import { ARTIFACTS } from './errorTable/artifacts.ts';
import { CONFIGURATION } from './errorTable/configuration.ts';
import { FLEET } from './errorTable/fleet.ts';
import { HOST } from './errorTable/host.ts';
import { PREFLIGHT } from './errorTable/preflight.ts';
import { SPECIFICATION } from './errorTable/specification.ts';
import type { ErrorEntry } from './errorTable/entry.ts';

export const ERRORS = {
  ...SPECIFICATION,
  ...PREFLIGHT,
  ...ARTIFACTS,
  ...CONFIGURATION,
  ...ACTIVATION,
  ...FLEET,
  ...HOST,
} as const satisfies Record<string, ErrorEntry>;
