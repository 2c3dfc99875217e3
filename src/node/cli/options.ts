/**
 * The command line of kata-node, parsed once.
 */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { MOUNTED_IMAGE } from '../../crds/names.ts';
import type { AccessPaths } from '../artifacts/access.ts';
import type { BundleSource } from '../artifacts/bundle.ts';

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
  'bundle',
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
  readonly image: string;
  readonly access: AccessPaths;
  /** Directory of the bundle that is made. */
  readonly into?: string;
  /** What goes into it. */
  readonly sources: readonly BundleSource[];
  readonly output: 'json' | 'text';
  readonly force: boolean;
  /** Verify every file of every version. */
  readonly files: boolean;
}

/** Asked for help instead, about one command or all. */
export interface HelpWanted {
  readonly help: true;
  readonly command: Command | undefined;
}

/** The command line cannot be understood. `message` says why, in one line. */
export class UsageError extends Error {}

const WITHOUT_PLAN: ReadonlySet<Command> = new Set<Command>([
  'status',
  'verify',
  'rollback',
  'bundle',
]);

/** Throws UsageError. */
export function parseOptions(args: readonly string[]): Options | HelpWanted {
  const { values, positionals } = parse(args);
  const wantsHelp = values.help === true || positionals[0] === 'help';
  const [name, ...rest] = positionals[0] === 'help' ? positionals.slice(1) : positionals;
  if (name === undefined && wantsHelp) return { help: true, command: undefined };
  if (name === undefined) throw new UsageError(`which command? one of ${COMMANDS.join(', ')}`);
  const command = COMMANDS.find((known) => known === name);
  if (command === undefined) throw new UsageError(`there is no command ${name}${nearest(name)}`);
  if (wantsHelp) return { help: true, command };
  if (rest.length > 0 && command !== 'bundle')
    throw new UsageError(`${rest.join(' ')} is not understood`);
  const { output, root, plan, into, force = false, files = false } = values;
  if (output !== 'json' && output !== 'text') throw new UsageError('--output is json or text');
  if (plan === undefined && !WITHOUT_PLAN.has(command))
    throw new UsageError(`${command} needs a plan: name it with --plan FILE`);
  if (force && command !== 'remove') throw new UsageError('--force is for remove alone');
  if (files && command !== 'verify') throw new UsageError('--files is for verify alone');
  if (command === 'bundle' && (into === undefined || rest.length === 0))
    throw new UsageError('bundle needs --into DIR, and at least one FILE or URL#sha256=DIGEST');
  if (!root.startsWith('/')) throw new UsageError('--root is an absolute path');
  return {
    command,
    output,
    root,
    force,
    files,
    artifacts: values.artifacts,
    image: values.image,
    access: accessOf(values),
    sources: rest.map(bundleSource),
    attempt: values.attempt ?? randomUUID(),
    ...(plan === undefined ? {} : { plan }),
    ...(into === undefined ? {} : { into }),
    ...(values.result === undefined ? {} : { result: values.result }),
    ...(values.handoff === undefined ? {} : { handoff: values.handoff }),
  };
}

function accessOf({ credentials, ca }: ReturnType<typeof parse>['values']): AccessPaths {
  return {
    ...(credentials === undefined ? {} : { credentials }),
    ...(ca === undefined ? {} : { ca }),
  };
}

function bundleSource(text: string): BundleSource {
  if (!/^https?:\/\//.test(text)) return { file: text };
  const [, url, sha256] = /^([^#]+)#sha256=([0-9a-f]{64})$/.exec(text) ?? [];
  if (url === undefined || sha256 === undefined || !URL.canParse(url))
    throw new UsageError('a URL must end in #sha256= and the 64 digits of its digest');
  return { url, sha256 };
}

/** A command that begins alike, or holds the same letters. */
function nearest(name: string): string {
  const letters = (word: string): string => Array.from(word).toSorted().join('');
  const alike =
    COMMANDS.find((command) => letters(command) === letters(name)) ??
    COMMANDS.find((command) => command.slice(0, 3) === name.slice(0, 3));
  return alike === undefined ? ` (${COMMANDS.join(', ')})` : `; did you mean ${alike}?`;
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
        image: { type: 'string', default: MOUNTED_IMAGE },
        credentials: { type: 'string' },
        ca: { type: 'string' },
        into: { type: 'string' },
        output: { type: 'string', default: 'text' },
        attempt: { type: 'string' },
        result: { type: 'string' },
        handoff: { type: 'string' },
        force: { type: 'boolean' },
        files: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError(explain(error), { cause: error });
  }
}

/** Node.js explains at length how an argument that begins with a dash could be meant. */
function explain(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const [sentence = text] = text.split(/\. |\n/);
  return sentence;
}
