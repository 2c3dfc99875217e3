/**
 * Reading an engine's TOML file: bytes to text to value, strictly.
 *
 * The text keeps everything (byte order mark, CRLF, tabs), so that writing it back gives the same bytes.
 * Nothing here ever prints a line of the file: it may hold registry credentials.
 */
import { parse, TomlError, type TomlDate } from 'smol-toml';
import { KataError, causeOf } from '../../errors.ts';
import { BYTE_ORDER_MARK, decodeUtf8 } from '../host/text.ts';

/** Read-only: a document that was parsed once may be handed out again. */
export interface TomlTable {
  readonly [key: string]: TomlValue;
}
export type TomlValue =
  string | number | bigint | boolean | TomlDate | readonly TomlValue[] | TomlTable;

/** The text of the file, byte order mark included. `file` is for the message. Throws KATA_E_ENGINE_CONFIG_INVALID. */
export function decodeToml(bytes: Uint8Array, file: string): string {
  return decodeUtf8(bytes, (line) => {
    throw new KataError('KATA_E_ENGINE_CONFIG_INVALID', { file, line, cause: 'it is not UTF-8' });
  });
}

/** The value of the document. Integers are bigint, so that two documents compare exactly. Throws KATA_E_ENGINE_CONFIG_INVALID. */
export function parseToml(text: string, file: string): TomlTable {
  try {
    return parseStrict(text);
  } catch (error) {
    const line = error instanceof TomlError ? error.line : 1;
    throw new KataError(
      'KATA_E_ENGINE_CONFIG_INVALID',
      { file, line, cause: tomlCause(error) },
      { cause: error },
    );
  }
}

/** True when the text is a valid document. */
export function isToml(text: string): boolean {
  try {
    parseStrict(text);
    return true;
  } catch {
    return false;
  }
}

/** What the parser says, without the lines of the file that it quotes. */
function tomlCause(error: unknown): string {
  const first = (error instanceof Error ? error.message : causeOf(error)).split('\n', 1)[0] ?? '';
  return first.replace(/^Invalid TOML document: /, '');
}

/** The last few documents: one edit asks for the same two or three again and again, and a file may have megabytes. */
const parsed = new Map<string, TomlTable>();
const PARSED_KEPT = 3;

function parseStrict(text: string): TomlTable {
  const known = parsed.get(text);
  if (known !== undefined) return known;
  const document = parse(text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text, {
    integersAsBigInt: true,
    useLegacyDate: true,
  });
  for (const oldest of [...parsed.keys()].slice(0, parsed.size + 1 - PARSED_KEPT))
    parsed.delete(oldest);
  parsed.set(text, document);
  return document;
}

export function isTable(value: TomlValue | undefined): value is TomlTable {
  return typeof value === 'object' && !Array.isArray(value) && !(value instanceof Date);
}

/** The value at a path of keys; undefined when a part is missing or no table. */
export function valueAt(document: TomlTable, path: readonly string[]): TomlValue | undefined {
  let value: TomlValue | undefined = document;
  for (const key of path) {
    if (!isTable(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

/** The table at a path of keys; undefined when there is none or something else is there. */
export function tableAt(document: TomlTable, path: readonly string[]): TomlTable | undefined {
  const value = valueAt(document, path);
  return isTable(value) ? value : undefined;
}
