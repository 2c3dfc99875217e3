/**
 * Reading JSON strictly and with the place of everything, so that one member can be changed and every other byte
 * stays: order, numbers of any size, white space.
 *
 * Refuses what Go's decoder, and with it dockerd, refuses or reads in a way that nobody can see (a key twice).
 * Never quotes a value: a daemon.json may hold the password of a proxy.
 */
import { KataError } from '../../errors.ts';
import { BYTE_ORDER_MARK, decodeUtf8, lineAt } from '../host/text.ts';

/** Offsets into the text: of the first character and after the last one. */
interface Span {
  readonly start: number;
  readonly end: number;
}

export interface JsonMember {
  readonly key: string;
  readonly keyStart: number;
  readonly value: JsonNode;
}

export interface JsonObject extends Span {
  readonly kind: 'object';
  readonly members: readonly JsonMember[];
}

export type JsonNode =
  | JsonObject
  | (Span & { readonly kind: 'list'; readonly items: readonly JsonNode[] })
  /** `value` is the text that a string means, and the very characters of a number or literal. */
  | (Span & { readonly kind: 'string' | 'number' | 'literal'; readonly value: string });

/** Deeper than any configuration, and far from the end of the stack. */
const MAX_DEPTH = 200;

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const LITERAL = /true|false|null/y;

/** The text of the file, byte order mark included. Throws KATA_E_ENGINE_CONFIG_INVALID. */
export function decodeJson(bytes: Uint8Array, file: string): string {
  return decodeUtf8(bytes, (line) => {
    throw new KataError('KATA_E_ENGINE_CONFIG_INVALID', { file, line, cause: 'it is not UTF-8' });
  });
}

/** The document. Throws KATA_E_ENGINE_CONFIG_INVALID with the line. */
export function parseJson(text: string, file: string): JsonNode {
  const scanner: Scanner = { text, file };
  const node = valueAt(scanner, text.startsWith(BYTE_ORDER_MARK) ? 1 : 0, 0);
  const end = afterSpace(scanner, node.end);
  if (end < text.length) throw invalid(scanner, end, 'there is something after the document');
  return node;
}

interface Scanner {
  readonly text: string;
  readonly file: string;
}

function valueAt(scanner: Scanner, from: number, depth: number): JsonNode {
  const { text } = scanner;
  const start = afterSpace(scanner, from);
  if (depth > MAX_DEPTH)
    throw invalid(scanner, start, `it is nested deeper than ${MAX_DEPTH} levels`);
  switch (text[start]) {
    case undefined:
      throw invalid(scanner, start, 'it ends too early');
    case '{':
      return objectAt(scanner, start, depth);
    case '[':
      return listAt(scanner, start, depth);
    case '"':
      return stringAt(scanner, start);
    default:
      return plainAt(scanner, start);
  }
}

function objectAt(scanner: Scanner, start: number, depth: number): JsonNode {
  const members: JsonMember[] = [];
  const keys = new Set<string>();
  const end = elements(scanner, start, '}', (keyStart) => {
    if (scanner.text[keyStart] !== '"')
      throw invalid(scanner, keyStart, 'a key in double quotes is missing');
    const key = stringAt(scanner, keyStart);
    if (keys.has(key.value))
      throw invalid(scanner, keyStart, `the key "${key.value}" is there twice`);
    keys.add(key.value);
    const colon = afterSpace(scanner, key.end);
    if (scanner.text[colon] !== ':')
      throw invalid(scanner, colon, 'a colon is missing after a key');
    const value = valueAt(scanner, colon + 1, depth + 1);
    members.push({ key: key.value, keyStart, value });
    return value.end;
  });
  return { kind: 'object', start, end, members };
}

function listAt(scanner: Scanner, start: number, depth: number): JsonNode {
  const items: JsonNode[] = [];
  const end = elements(scanner, start, ']', (from) => {
    const item = valueAt(scanner, from, depth + 1);
    items.push(item);
    return item.end;
  });
  return { kind: 'list', start, end, items };
}

/** What is between two brackets, separated by commas. Returns the offset after the closing one. */
function elements(
  scanner: Scanner,
  start: number,
  close: string,
  element: (start: number) => number,
): number {
  let at = afterSpace(scanner, start + 1);
  if (scanner.text[at] === close) return at + 1;
  for (;;) {
    at = afterSpace(scanner, element(at));
    if (scanner.text[at] === close) return at + 1;
    if (scanner.text[at] !== ',')
      throw invalid(scanner, at, `a comma or ${close} is missing here or above`);
    at = afterSpace(scanner, at + 1);
    if (scanner.text[at] === close) throw invalid(scanner, at, `nothing follows the last comma`);
  }
}

function stringAt(scanner: Scanner, start: number): Span & { kind: 'string'; value: string } {
  const found = match(STRING, scanner.text, start);
  if (found === undefined)
    throw invalid(
      scanner,
      start,
      'a string has no end, or holds a control character or a wrong escape',
    );
  return {
    kind: 'string',
    start,
    end: start + found.length,
    value: found.includes('\\') ? String(JSON.parse(found)) : found.slice(1, -1),
  };
}

function plainAt(scanner: Scanner, start: number): JsonNode {
  const number = match(NUMBER, scanner.text, start);
  const value = number ?? match(LITERAL, scanner.text, start);
  const end = start + (value?.length ?? 0);
  if (value === undefined || /[\w.+-]/.test(scanner.text[end] ?? ''))
    throw invalid(scanner, start, 'this is no value of JSON');
  return { kind: number === undefined ? 'literal' : 'number', start, end, value };
}

function afterSpace(scanner: Scanner, from: number): number {
  const at = from + (match(SPACE, scanner.text, from)?.length ?? 0);
  if (/\/[/*]|#/y.test(scanner.text.slice(at, at + 2)))
    throw invalid(scanner, at, 'JSON has no comments, and dockerd does not read this one either');
  return at;
}

function match(pattern: RegExp, text: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
}

function invalid({ text, file }: Scanner, offset: number, cause: string): KataError {
  return new KataError('KATA_E_ENGINE_CONFIG_INVALID', {
    file,
    line: lineAt(text, offset),
    cause,
  });
}
