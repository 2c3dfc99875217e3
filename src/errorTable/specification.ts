/** Rows of the table of errors: what is asked for in a KataDeployment, or in a plan. */
import { entry } from './entry.ts';

export const SPECIFICATION = {
  KATA_E_SPEC_INVALID: entry(
    'InvalidSpec',
    'terminal',
    '{field}: {cause}',
    'Correct {field} and apply again.',
  ),
  KATA_E_UNKNOWN_RUNTIME: entry(
    'UnknownRuntime',
    'terminal',
    'spec.runtimes: there is no Kata runtime named "{name}"{nearest}',
    'Use a name of the catalogue (docs/reference/runtimes.md), or set `base` to one for a name of your own.',
  ),
  KATA_E_NOT_IMPLEMENTED: entry(
    'NotImplemented',
    'terminal',
    '{fields}: accepted by the API, but this version of kata-operator does not act on it yet',
    'Remove the field; no node is touched while it is set.',
  ),
  KATA_E_VERSION_MISMATCH: entry(
    'VersionMismatch',
    'terminal',
    'spec.version is {wanted}, but the artifacts say {found}',
    'Set spec.version to {found} or leave it out.',
  ),
} as const;
