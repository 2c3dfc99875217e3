/** Everything that is fuzzed. A new reader of files that others write gets a line here. */
import { jsonTarget } from './jsonTarget.ts';
import { archiveTarget, tarTarget } from './tarTarget.ts';
import type { FuzzTarget } from './target.ts';
import { tomlJudgedTarget } from './tomlJudgedTarget.ts';
import { tomlTarget } from './tomlTarget.ts';

export const FUZZ_TARGETS: readonly FuzzTarget[] = [
  tomlTarget,
  jsonTarget,
  tarTarget,
  archiveTarget,
];

/** With other programs as judges: not for tests that may start no process. */
export const JUDGED_TARGETS: readonly FuzzTarget[] = [tomlJudgedTarget];
