/**
 * Docker's daemon.json: our runtimes in it, and out of it again, with every other byte as it was.
 *
 * JSON has no comments, so nothing in the file says which runtimes are ours: the caller remembers their names, and
 * what had to be made for them. The result is always read again and compared with what it should say. Says nothing
 * about dockerd itself, which reads this file on SIGHUP.
 */
import { isDeepStrictEqual } from 'node:util';
import { KataError } from '../../errors.ts';
import { lineAt } from '../host/text.ts';
import { addMember, type JsonInput, linesStyle, nested, removeMember, render } from './members.ts';
import { replaceValue, type Style, styleOf } from './members.ts';
import { type JsonMember, type JsonNode, type JsonObject, parseJson } from './scan.ts';

/** Runtimes by name, as dockerd reads them: `path`, `runtimeArgs`, `runtimeType`, `options`. */
export type DockerRuntimes = Readonly<Record<string, { readonly [key: string]: JsonInput }>>;

/** What was not there before our first edit and goes when nothing else is in it. */
export interface Made {
  /** The file was missing or blank. */
  readonly document: boolean;
  /** There was no "runtimes". */
  readonly runtimes: boolean;
}

const DEFAULT_UNIT = '  ';
/** dockerd refuses a file that defines it. */
const RESERVED = 'runc';

/** What the first edit of this text will have made: to be remembered before it. */
export function whatIsMissing(text: string, file: string): Made {
  return {
    document: isBlank(text),
    runtimes: isBlank(text) || memberOf(rootOf(text, file), 'runtimes') === undefined,
  };
}

/**
 * The text with exactly these runtimes of ours: `own` are the names that earlier edits have put there. Of a runtime
 * that is as it should be, nothing changes. Throws KATA_E_ENGINE_CONFIG_INVALID, KATA_E_ENGINE_CONFIG_CONFLICT.
 */
export function withRuntimes(
  text: string,
  wanted: DockerRuntimes,
  own: readonly string[],
  file: string,
): string {
  const names = Object.keys(wanted);
  if (names.includes(RESERVED)) throw conflict(file, `runtime name "${RESERVED}" is reserved`);
  assertFree(
    text,
    names.filter((name) => !own.includes(name)),
    file,
  );
  let edited = removed(
    text,
    own.filter((name) => !names.includes(name)),
    file,
  );
  for (const [name, runtime] of Object.entries(wanted))
    edited = withRuntime(edited, name, runtime, file);
  assertMerged(text, edited, { wanted, gone: own }, file);
  return edited;
}

/** The text without our runtimes. Throws as `withRuntimes`, and a conflict when one of them is the default. */
export function withoutRuntimes(
  text: string,
  own: readonly string[],
  made: Made,
  file: string,
): string {
  if (isBlank(text)) return text;
  let edited = removed(text, own, file);
  const runtimes = memberOf(rootOf(edited, file), 'runtimes');
  if (made.runtimes && runtimes?.value.kind === 'object' && runtimes.value.members.length === 0)
    edited = removeMember(edited, rootOf(edited, file), 'runtimes');
  assertMerged(text, edited, { wanted: {}, gone: own }, file);
  const root = rootOf(edited, file);
  return made.document && root.members.length === 0
    ? edited.slice(0, root.start) + edited.slice(root.end).replace(/^\r?\n/, '')
    : edited;
}

/** Nothing but white space: dockerd is then configured by its arguments alone, or does not start. */
function isBlank(text: string): boolean {
  return /^\uFEFF?[ \t\r\n]*$/.test(text);
}

function rootOf(text: string, file: string): JsonObject {
  const root = parseJson(text, file);
  if (root.kind !== 'object')
    throw conflict(file, `line ${lineAt(text, root.start)}: the document is not an object`);
  return root;
}

function memberOf(object: JsonObject, key: string): JsonMember | undefined {
  return object.members.find((member) => member.key === key);
}

/** The object of the runtimes. */
function runtimesOf(text: string, file: string): JsonObject | undefined {
  const member = memberOf(rootOf(text, file), 'runtimes');
  if (member === undefined) return undefined;
  if (member.value.kind === 'object') return member.value;
  throw conflict(file, `line ${lineAt(text, member.keyStart)}: "runtimes" is not an object`);
}

function assertFree(text: string, names: readonly string[], file: string): void {
  if (isBlank(text)) return;
  const taken = runtimesOf(text, file)?.members.find(({ key }) => names.includes(key));
  if (taken !== undefined)
    throw conflict(
      file,
      `line ${lineAt(text, taken.keyStart)}: runtime "${taken.key}" is already defined and not by kata-operator; remove it`,
    );
}

function withRuntime(text: string, name: string, runtime: JsonInput, file: string): string {
  if (isBlank(text)) {
    const end = text.includes('\r\n') ? '\r\n' : '\n';
    return `${text}${render({ runtimes: { [name]: runtime } }, linesStyle(end, '', DEFAULT_UNIT))}${end}`;
  }
  const root = rootOf(text, file);
  const style = rootStyle(text, root);
  const runtimes = runtimesOf(text, file);
  if (runtimes === undefined) return addMember(text, root, 'runtimes', { [name]: runtime }, style);
  const unit = style.lines?.unit ?? DEFAULT_UNIT;
  const inner = styleOf(text, runtimes, unit) ?? nested(style);
  const present = memberOf(runtimes, name);
  if (present === undefined) return addMember(text, runtimes, name, runtime, inner);
  const same = isDeepStrictEqual(plain(present.value), plainInput(runtime));
  return same ? text : replaceValue(text, present, runtime, inner);
}

/** An empty document gets a line for each member. */
function rootStyle(text: string, root: JsonObject): Style {
  const line = text.slice(text.lastIndexOf('\n', root.start - 1) + 1, root.start);
  const base = /^\uFEFF?([ \t]*)$/.exec(line)?.[1] ?? '';
  const found = styleOf(text, root, DEFAULT_UNIT);
  if (found === undefined)
    return linesStyle(text.includes('\r\n') ? '\r\n' : '\n', base + DEFAULT_UNIT, DEFAULT_UNIT);
  if (found.lines === undefined) return found;
  const { end, indent } = found.lines;
  return linesStyle(end, indent, indent.startsWith(base) ? indent.slice(base.length) : indent);
}

function removed(text: string, names: readonly string[], file: string): string {
  if (isBlank(text)) return text;
  const fallback = memberOf(rootOf(text, file), 'default-runtime');
  if (fallback?.value.kind === 'string' && names.includes(fallback.value.value))
    throw conflict(
      file,
      `line ${lineAt(text, fallback.keyStart)}: "default-runtime" is "${fallback.value.value}", and dockerd would not start without it; change it first`,
    );
  return names.reduce((edited, name) => {
    const runtimes = runtimesOf(edited, file);
    return runtimes === undefined ? edited : removeMember(edited, runtimes, name);
  }, text);
}

/** A value that compares exactly: order of members, and numbers by their characters. */
type Plain =
  | readonly ['object', readonly (readonly [string, Plain])[]]
  | readonly ['list', readonly Plain[]]
  | readonly ['string' | 'number' | 'literal', string];

function plain(node: JsonNode): Plain {
  if (node.kind === 'object')
    return ['object', node.members.map(({ key, value }) => [key, plain(value)] as const)];
  if (node.kind === 'list') return ['list', node.items.map(plain)];
  return [node.kind, node.value];
}

function plainInput(input: JsonInput): Plain {
  return plain(parseJson(JSON.stringify(input), ''));
}

/** Everything but our runtimes must say the same as before, and ours what they should. */
function assertMerged(
  before: string,
  after: string,
  { wanted, gone }: { wanted: DockerRuntimes; gone: readonly string[] },
  file: string,
): void {
  const ours = new Set([...gone, ...Object.keys(wanted)]);
  const rest = (text: string): unknown =>
    isBlank(text)
      ? []
      : rootOf(text, file).members.flatMap(({ key, value }) =>
          key !== 'runtimes' || value.kind !== 'object'
            ? [[key, plain(value)]]
            : value.members
                .filter((member) => !ours.has(member.key))
                .map((member) => [key, member.key, plain(member.value)]),
        );
  const found = isBlank(after) ? undefined : runtimesOf(after, file);
  const right =
    Object.entries(wanted).every(([name, runtime]) => {
      const member = found === undefined ? undefined : memberOf(found, name);
      return member !== undefined && isDeepStrictEqual(plain(member.value), plainInput(runtime));
    }) &&
    [...ours].every(
      (name) => Object.hasOwn(wanted, name) || !found?.members.some(({ key }) => key === name),
    );
  if (!right || !isDeepStrictEqual(rest(before), rest(after)))
    throw conflict(file, 'the runtimes cannot be changed without changing what is there');
}

function conflict(file: string, cause: string): KataError {
  return new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', { file, cause });
}
