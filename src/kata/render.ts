/**
 * Kata's configuration of one handler, made from the file that is shipped: the same bytes, but every path
 * of the release points into the version's directory.
 *
 * Pure text to text. It touches string values alone (never a key or a comment), and `renderConfiguration`
 * proves on the parsed result that nothing else changed.
 */
import { parse, type TomlTable, type TomlValue } from 'smol-toml';

/** The prefix that releases are built with. */
export const RELEASE_PREFIX = '/opt/kata';

export interface PathRewrite {
  /** Directory that takes the place of /opt/kata. */
  readonly versionDirectory: string;
  /** Whole values, as shipped, with what takes their place; looked at before the prefix. */
  readonly replacements?: ReadonlyMap<string, string>;
}

/** Thrown when a configuration does not parse or cannot be rewritten faithfully. `message` says why. */
export class ConfigurationError extends Error {}

/** The last few: each of a few handlers asks for its own again and again. Nobody changes what they get. */
const parsed = new Map<string, TomlTable>();
const PARSED_KEPT = 12;

/** Strict: what does not parse as TOML is an error with its line. */
export function parseConfiguration(text: string): Readonly<TomlTable> {
  const known = parsed.get(text);
  if (known !== undefined) return known;
  try {
    const table = parse(text, { integersAsBigInt: 'asNeeded' });
    for (const oldest of [...parsed.keys()].slice(0, parsed.size + 1 - PARSED_KEPT))
      parsed.delete(oldest);
    parsed.set(text, table);
    return table;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new ConfigurationError(message.split('\n')[0] ?? 'it does not parse', { cause: error });
  }
}

/** The configuration with its paths rewritten. Bytes outside string values are the shipped ones. */
export function renderConfiguration(shipped: string, rewrite: PathRewrite): string {
  const before = parseConfiguration(shipped);
  const rendered = rewriteStrings(shipped, (value) => rewritePath(value, rewrite));
  const after = parseConfiguration(rendered);
  const expected = mapStrings(before, (value) => rewritePath(value, rewrite));
  const difference = firstDifference(expected, after, '');
  if (difference !== undefined)
    throw new ConfigurationError(
      `the path at ${difference} is written in a way that cannot be rewritten`,
    );
  return rendered;
}

function rewritePath(value: string, { versionDirectory, replacements }: PathRewrite): string {
  const replacement = replacements?.get(value);
  if (replacement !== undefined) return replacement;
  if (value !== RELEASE_PREFIX && !value.startsWith(`${RELEASE_PREFIX}/`)) return value;
  return versionDirectory + value.slice(RELEASE_PREFIX.length);
}

/**
 * Files of the release that the configuration names: every path below `prefix` that is the value of a
 * single key. Lists (`valid_…_paths`) say what is allowed, not what must be there.
 */
export function referencedFiles(
  configuration: TomlTable,
  prefix: string = RELEASE_PREFIX,
): string[] {
  const found = new Set<string>();
  const visit = (value: TomlValue | undefined, inTable: boolean): void => {
    if (typeof value === 'string') {
      if (inTable && value.startsWith(`${prefix}/`)) found.add(value);
    } else if (Array.isArray(value)) {
      for (const element of value) visit(element, false);
    } else if (isTable(value)) {
      for (const element of Object.values(value)) visit(element, true);
    }
  };
  visit(configuration, true);
  return [...found].sort();
}

/** `path` of every `[hypervisor.…]`: the binaries that will run on the host. */
export function hypervisorBinaries(configuration: TomlTable): string[] {
  const hypervisors = configuration['hypervisor'];
  if (!isTable(hypervisors)) return [];
  return Object.values(hypervisors).flatMap((section) => {
    const path = isTable(section) ? section['path'] : undefined;
    return typeof path === 'string' && path !== '' ? [path] : [];
  });
}

/**
 * Where QEMU of the release has its firmware, relative to the version: `bin/qemu-system-x86_64-tdx-experimental`
 * has `share/kata-qemu-tdx-experimental/qemu`. Undefined for anything but QEMU.
 */
export function qemuDataDirectory(binary: string): string | undefined {
  const match = /^bin\/qemu-system-(?:x86_64|aarch64|s390x|ppc64(?:le)?)((?:-[a-z0-9-]+)?)$/.exec(
    binary,
  );
  return match === null ? undefined : `share/kata-qemu${match[1] ?? ''}/qemu`;
}

/** A script that starts QEMU with its data directory: the one compiled in is /opt/kata/share/kata-qemu. */
export function qemuWrapper(binary: string, dataDirectory: string): string {
  return `#!/bin/sh\n# Written by kata-operator.\nexec ${binary} -L ${dataDirectory} "$@"\n`;
}

/** Applies `change` to the content of every single-line string in value position. */
function rewriteStrings(text: string, change: (value: string) => string): string {
  let output = '';
  let copied = 0;
  for (const { start, end, quote } of valueStrings(text)) {
    const content = text.slice(start, end);
    // An escape could hide anything; a path that needs one is left as it is, and then noticed.
    if (quote === '"' && content.includes('\\')) continue;
    output += text.slice(copied, start) + change(content);
    copied = end;
  }
  return output + text.slice(copied);
}

interface Span {
  readonly start: number;
  readonly end: number;
  readonly quote: string;
}

const TOKEN =
  /"""[^]*?"{3,5}|'''[^]*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[=\n[\]{},]|[^"'#=\n[\]{},]+|[^]/g;

/** Single-line strings behind an equals sign. Multi-line strings and comments are passed over. */
function* valueStrings(text: string): Generator<Span> {
  let depth = 0;
  let inValue = false;
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    const first = token[0] ?? '';
    if (token === '\n' && depth === 0) inValue = false;
    else if (token === '=') inValue = true;
    else if (inValue && (token === '[' || token === '{')) depth += 1;
    else if (inValue && (token === ']' || token === '}')) depth -= 1;
    else if (
      inValue &&
      (first === '"' || first === "'") &&
      token.length >= 2 &&
      !/^("""|''')/.test(token)
    ) {
      yield { start: index + 1, end: index + token.length - 1, quote: first };
    }
  }
}

function isTable(value: unknown): value is TomlTable {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
  );
}

function mapStrings(value: TomlValue, change: (value: string) => string): TomlValue {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((element) => mapStrings(element, change));
  if (!isTable(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, element]) => [key, mapStrings(element, change)]),
  );
}

/** The dotted key of the first value that differs. */
function firstDifference(
  a: TomlValue | undefined,
  b: TomlValue | undefined,
  at: string,
): string | undefined {
  if (a === undefined || b === undefined) return a === b ? undefined : at;
  if (Array.isArray(a) && Array.isArray(b)) {
    if (a.length !== b.length) return at;
    return firstDefined(a.map((element, i) => firstDifference(element, b[i], `${at}[${i}]`)));
  }
  if (isTable(a) && isTable(b)) {
    const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    return firstDefined(
      keys.map((key) => firstDifference(a[key], b[key], at === '' ? key : `${at}.${key}`)),
    );
  }
  if (a instanceof Date && b instanceof Date) return a.getTime() === b.getTime() ? undefined : at;
  return Object.is(a, b) ? undefined : at;
}

function firstDefined(values: readonly (string | undefined)[]): string | undefined {
  return values.find((value) => value !== undefined);
}
