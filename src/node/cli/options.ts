/**
 * The command line of kata-node, parsed once.
 */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';

export const COMMANDS = [
  'preflight',
  'plan',
  'stage',
  'activate',
  'apply',
  'verify',
  'rollback',
  'remove',
  'status',
] as const;
export type Command = (typeof COMMANDS)[number];

export interface Options {
  readonly command: Command;
  readonly plan?: string;
  readonly root: string;
  readonly attempt: string;
  /** File for the result: then this is a container of a Pod, and it always exits 0. */
  readonly result?: string;
  readonly handoff?: string;
  readonly artifacts: string;
  readonly output: 'json' | 'text';
}

/** The command line cannot be understood. `message` says why. */
export class UsageError extends Error {}

export const USAGE = `usage: kata-node COMMAND [--plan FILE] [options]

commands
  preflight   check that this host can run what the plan asks for; writes nothing
  plan        show what apply would change; writes nothing
  stage       bring the artifacts to the host
  activate    make the container engine serve the handlers
  apply       preflight, stage and activate
  verify      check that the host is as the plan asks; writes nothing
  remove      give the host back as it was
  status      show where this host stands
  rollback    return to the revision before

options
  --plan FILE        what is wanted, as JSON (not needed for status)
  --root DIR         root directory of the host (default /)
  --artifacts DIR    archives that come with this program, and index.json (default /artifacts)
  --output FORMAT    text or json (default text); json prints the result as its only line
  --attempt ID       name of this attempt; a repeated one that ended badly is not tried again
  --result FILE      write the result there and always exit 0 (for Pods)
  --handoff DIR      results of earlier stages (for Pods)

exit codes: 0 done or nothing to do, 2 refused before the first write, 3 failed and rolled back, 4 needs a person
`;

/** Throws UsageError. */
export function parseOptions(args: readonly string[]): Options {
  const { values, positionals } = parse(args);
  const [name, ...rest] = positionals;
  if (name === undefined) throw new UsageError('which command?');
  const command = COMMANDS.find((known) => known === name);
  if (command === undefined) throw new UsageError(`there is no command ${name}`);
  if (rest.length > 0) throw new UsageError(`${rest.join(' ')} is not understood`);
  const { output, root, plan } = values;
  if (output !== 'json' && output !== 'text') throw new UsageError('--output is json or text');
  if (plan === undefined && command !== 'status' && command !== 'rollback') {
    throw new UsageError(`${command} needs a plan: name it with --plan FILE`);
  }
  if (!root.startsWith('/')) throw new UsageError('--root is an absolute path');
  return {
    command,
    output,
    root,
    artifacts: values.artifacts,
    attempt: values.attempt ?? randomUUID(),
    ...(plan === undefined ? {} : { plan }),
    ...(values.result === undefined ? {} : { result: values.result }),
    ...(values.handoff === undefined ? {} : { handoff: values.handoff }),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        plan: { type: 'string' },
        root: { type: 'string', default: '/' },
        artifacts: { type: 'string', default: '/artifacts' },
        output: { type: 'string', default: 'text' },
        attempt: { type: 'string' },
        result: { type: 'string' },
        handoff: { type: 'string' },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}
