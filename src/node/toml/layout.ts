/**
 * Where in a document its tables and keys are written: for messages that name a line, and to know whether an
 * offset lies between two statements.
 *
 * Only for text that the strict parser has accepted: it skips values, it does not judge them. It never throws
 * and reads every character once, so that text which is not valid only gives a poorer answer.
 */
import { parse } from 'smol-toml';

/** `[a.b]`, `[[a.b]]` or `a.b = …`. */
export interface Statement {
  readonly kind: 'table' | 'arrayOfTables' | 'key';
  /** From the root of the document, the header above a key included. */
  readonly path: readonly string[];
  /** Offsets into the text: from the first character to after the last one of header or value. */
  readonly start: number;
  readonly end: number;
  /** The key is written with a backslash escape. */
  readonly isEscaped: boolean;
}

const BLANK = /(?:[\s\uFEFF]|#[^\n]*)*/y;
/** One part of a key with the dot before it: bare, basic or literal. */
const KEY_PART = /[ \t]*\.?[ \t]*(?:"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)'|([A-Za-z0-9_-]+))/y;
/** The second of a pair is for one that never ends. */
const STRING =
  /"""(?:[^"\\]|\\[\s\S]|"(?!""))*"{3,5}|"""[\s\S]*|'''(?:[^']|'(?!''))*'{3,5}|'''[\s\S]*|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'/y;
/** Numbers, dates, booleans. */
const PLAIN = /[^\s,\]}#"'[{]+(?: [0-9][^\s,\]}#]*)?/y;

/** All statements in their order. */
export function statementsOf(text: string): Statement[] {
  const found: Statement[] = [];
  let header: readonly string[] = [];
  for (let start = skip(BLANK, text, 0); start < text.length;) {
    const brackets = text.startsWith('[[', start) ? 2 : text[start] === '[' ? 1 : 0;
    const key = keyAt(text, start + brackets);
    const path = brackets > 0 ? key.path : [...header, ...key.path];
    if (brackets > 0) header = path;
    const end = brackets > 0 ? afterHeader(text, key.end, brackets) : afterValue(text, key.end);
    found.push({ kind: KINDS[brackets], path, start, end, isEscaped: key.isEscaped });
    // At least one character further, whatever the text is.
    start = skip(BLANK, text, Math.max(end, start + 1));
  }
  return found;
}

const KINDS = ['key', 'table', 'arrayOfTables'] as const;

/** The first statement that defines this path or something below it. */
export function definitionOf(text: string, path: readonly string[]): Statement | undefined {
  return statementsOf(text).find((statement) => isPrefix(path, statement.path));
}

/** The statement that gives a value, and no header, to the path or to a table that it would be in. */
export function valueAbove(text: string, path: readonly string[]): Statement | undefined {
  return statementsOf(text).find(
    (statement) => statement.kind !== 'table' && isPrefix(statement.path, path),
  );
}

function isPrefix(prefix: readonly string[], path: readonly string[]): boolean {
  return prefix.length <= path.length && prefix.every((key, index) => key === path[index]);
}

function keyAt(text: string, start: number): { path: string[]; end: number; isEscaped: boolean } {
  const path: string[] = [];
  let end = start;
  let isEscaped = false;
  for (;;) {
    KEY_PART.lastIndex = end;
    const part = KEY_PART.exec(text);
    if (part === null || (path.length > 0 && !part[0].trimStart().startsWith('.'))) break;
    path.push(part[1] === undefined ? (part[2] ?? part[3] ?? '') : unescape(part[1]));
    end = KEY_PART.lastIndex;
    isEscaped ||= part[1]?.includes('\\') === true;
  }
  return { path, end, isEscaped };
}

function unescape(quoted: string): string {
  if (!quoted.includes('\\')) return quoted;
  try {
    const { key } = parse(`key = "${quoted}"`);
    return typeof key === 'string' ? key : quoted;
  } catch {
    return quoted;
  }
}

function afterHeader(text: string, keyEnd: number, brackets: number): number {
  const close = text.indexOf(']', keyEnd);
  return close === -1 ? text.length : close + brackets;
}

function afterValue(text: string, keyEnd: number): number {
  let at = text.indexOf('=', keyEnd);
  if (at === -1) return text.length;
  at += 1;
  for (let depth = 0; at < text.length;) {
    // Inside brackets, lines and comments are between the elements.
    at = depth > 0 ? skip(BLANK, text, at) : skip(/[ \t]*/y, text, at);
    const character = text[at] ?? '';
    if (character === '[' || character === '{') depth += 1;
    if (character === ']' || character === '}') depth -= 1;
    if ('[]{},'.includes(character)) at += 1;
    else at = afterScalar(text, at);
    if (depth <= 0) return at;
  }
  return text.length;
}

function afterScalar(text: string, start: number): number {
  const end = skip(STRING, text, start);
  return end > start ? end : Math.max(skip(PLAIN, text, start), start + 1);
}

/** Offset after what the pattern matches at `start`; `start` when it does not. */
function skip(pattern: RegExp, text: string, start: number): number {
  pattern.lastIndex = start;
  return pattern.test(text) ? pattern.lastIndex : start;
}
