/**
 * The blocks that describe an entry of a tar archive: ustar and GNU headers, pax records, GNU long names.
 *
 * Pure. Fields follow POSIX.1-2017 (pax) and GNU tar's manual; whatever is not plainly valid is an error,
 * since two readers would take it for two things.
 */

export const BLOCK_BYTES = 512;
/** Of an extended header. Linux has paths of at most 4 KiB; the rest is times, owners and the like. */
export const MAX_META_BYTES = 64 * 1024;

/** Says in a few words what is wrong with an archive. */
export class TarError extends Error {}

export interface TarHeader {
  readonly name: string;
  /** `file`, `directory`, `symlink`, `link`, `fifo`, …; of a meta header its type flag. */
  readonly type: string;
  readonly isMeta: boolean;
  readonly mode: number;
  readonly sizeBytes: number;
  readonly linkname: string;
}

/** What an extended header says of the entry that follows it. */
export interface Meta {
  readonly path?: string;
  readonly linkpath?: string;
  readonly sizeBytes?: number;
}

const TYPES: Readonly<Record<string, string>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  '7': 'contiguous-file',
  S: 'sparse-file',
};
const META_TYPES = 'xgLK';
const CHECKSUM = { start: 148, end: 156 };

// What is not UTF-8 becomes U+FFFD, which no name may hold.
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** `block` has 512 bytes. Throws TarError. */
export function parseHeader(block: Uint8Array): TarHeader {
  if (octal(block, CHECKSUM.start, CHECKSUM.end) !== checksum(block))
    throw new TarError('it holds no tar archive, or a damaged one');
  const magic = utf8.decode(block.subarray(257, 263));
  // Before ustar the rest of the block had no meaning.
  const isUstar = magic === 'ustar\0';
  if (!isUstar && magic !== 'ustar ' && !/^\0+$/.test(magic))
    throw new TarError('it holds a header of an unknown kind');
  const prefix = isUstar ? text(block, 345, 500) : '';
  const name = text(block, 0, 100);
  const flag = String.fromCharCode(block[156] ?? 0);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    type: META_TYPES.includes(flag) ? flag : (TYPES[flag] ?? `unknown type ${flag.charCodeAt(0)}`),
    isMeta: META_TYPES.includes(flag),
    mode: octal(block, 100, 108),
    sizeBytes: size(block),
    linkname: text(block, 157, 257),
  };
}

/** `type` is the flag of a meta header, `content` all that it holds. Throws TarError. */
export function metaOf(type: string, content: Uint8Array): Meta {
  if (type === 'L') return { path: text(content, 0, content.length) };
  if (type === 'K') return { linkpath: text(content, 0, content.length) };
  const records = paxRecords(content);
  if ([...records.keys()].some((key) => key.startsWith('GNU.sparse.')))
    throw new TarError('it holds a sparse file');
  const path = records.get('path');
  const linkpath = records.get('linkpath');
  const sizeText = records.get('size');
  if (type === 'g') {
    if (path !== undefined || linkpath !== undefined || sizeText !== undefined)
      throw new TarError('a global header gives one name or size to all entries');
    return {};
  }
  return {
    ...(path === undefined ? {} : { path }),
    ...(linkpath === undefined ? {} : { linkpath }),
    ...(sizeText === undefined ? {} : { sizeBytes: decimal(sizeText) }),
  };
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record in bytes. */
function paxRecords(content: Uint8Array): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < content.length;) {
    const space = content.indexOf(0x20, at);
    const digits = space === -1 ? '' : utf8.decode(content.subarray(at, space));
    const end = at + (/^[1-9]\d{0,5}$/.test(digits) ? Number(digits) : 0);
    const equals = content.indexOf(0x3d, space);
    if (end <= equals || equals === -1 || end > content.length || content[end - 1] !== 0x0a)
      throw new TarError('a pax header is malformed');
    const key = utf8.decode(content.subarray(space + 1, equals));
    if (records.has(key)) throw new TarError('a pax header says something twice');
    records.set(key, utf8.decode(content.subarray(equals + 1, end - 1)));
    at = end;
  }
  return records;
}

function decimal(digits: string): number {
  const value = /^\d{1,16}$/.test(digits) ? Number(digits) : NaN;
  if (!Number.isSafeInteger(value))
    throw new TarError('a pax header gives a size that is no number');
  return value;
}

/** Octal, or in GNU's way base 256 with the first bit set. */
function size(block: Uint8Array): number {
  const first = block[124] ?? 0;
  if ((first & 0x80) === 0) return octal(block, 124, 136);
  let value = BigInt(first & 0x7f);
  for (const byte of block.subarray(125, 136)) value = value * 256n + BigInt(byte);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new TarError('an entry has an absurd size');
  return Number(value);
}

function octal(block: Uint8Array, start: number, end: number): number {
  const field = /^ *([0-7]*)[ \0]*$/.exec(utf8.decode(block.subarray(start, end)));
  if (field === null) throw new TarError('it holds no tar archive, or a damaged one');
  return field[1] === '' ? 0 : parseInt(field[1] ?? '', 8);
}

function checksum(block: Uint8Array): number {
  let sum = 0;
  for (const [index, byte] of block.entries())
    sum += index >= CHECKSUM.start && index < CHECKSUM.end ? 0x20 : byte;
  return sum;
}

/** Up to the first NUL. */
function text(bytes: Uint8Array, start: number, end: number): string {
  const field = bytes.subarray(start, end);
  const length = field.indexOf(0);
  return utf8.decode(length === -1 ? field : field.subarray(0, length));
}
