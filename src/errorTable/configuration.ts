/** Rows of the table of errors: the configuration of Kata and of the handlers. */
import { entry } from './entry.ts';

export const CONFIGURATION = {
  KATA_E_KATA_CONFIG: entry(
    'KataConfigInvalid',
    'terminal',
    '{file}: {cause}',
    'The artifacts are damaged or of an unknown version; use a released kata-static.',
  ),
  KATA_E_ENGINE_CONFIG_INVALID: entry(
    'EngineConfigInvalid',
    'terminal',
    '{file} does not parse: line {line}: {cause}',
    'Correct the file on the node; kata-operator has not changed it.',
  ),
  KATA_E_ENGINE_CONFIG_CONFLICT: entry(
    'EngineConfigConflict',
    'terminal',
    '{file}: {cause}',
    'Change the file as described; kata-operator does not edit what it cannot take back byte for byte.',
  ),
  KATA_E_ENGINE_REJECTED_CONFIG: entry(
    'EngineRejectedConfig',
    'terminal',
    '{engine} refused the configuration: {cause}',
    'Correct {file} on the node. The candidate was checked before it was put in place: the running engine was not touched.',
  ),
} as const;
