/**
 * The protobuf wire format, as far as CRI needs it here: messages described by a table of field numbers,
 * unknown fields skipped (protobuf.dev/programming-guides/encoding).
 *
 * Written by hand because two calls with a dozen fields need some eighty lines, while a protobuf library
 * with its loader would be the largest dependency of the node program.
 */

export type FieldType =
  'string' | 'bool' | 'int64' | { readonly message: MessageShape } | { readonly map: 'string' };

export interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly repeated?: boolean;
}

/** Field number → field. */
export type MessageShape = Readonly<Record<number, Field>>;

export type FieldValue =
  string | boolean | number | Message | FieldValue[] | Readonly<Record<string, string>>;
export interface Message {
  [name: string]: FieldValue;
}

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

/** Encodes the singular string and bool fields of a request; absent fields are left out. */
export function encodeMessage(
  shape: MessageShape,
  message: Readonly<Record<string, string | boolean>>,
): Buffer {
  const parts: Buffer[] = [];
  for (const [number, field] of Object.entries(shape)) {
    const value = message[field.name];
    const tag = Number(number) << 3;
    if (typeof value === 'boolean') parts.push(varint(tag | VARINT), varint(value ? 1 : 0));
    if (typeof value === 'string') {
      const bytes = Buffer.from(value, 'utf8');
      parts.push(varint(tag | LENGTH_DELIMITED), varint(bytes.length), bytes);
    }
  }
  return Buffer.concat(parts);
}

/** Decodes a message. Repeated fields are always there, as lists; maps as objects. Throws RangeError on a truncated one. */
export function decodeMessage(shape: MessageShape, bytes: Uint8Array): Message {
  const reader = new Reader(bytes);
  const message: Message = {};
  for (const field of Object.values(shape)) {
    if (field.repeated === true) message[field.name] = [];
    if (typeof field.type === 'object' && 'map' in field.type) message[field.name] = {};
  }
  while (!reader.done) {
    const tag = reader.varint();
    const field = shape[tag >>> 3];
    if (field === undefined || !readField(reader, tag & 7, field, message)) reader.skip(tag & 7);
  }
  return message;
}

/** False when the field comes with a wire type other than its own: it is then skipped like an unknown one. */
function readField(reader: Reader, wireType: number, field: Field, message: Message): boolean {
  const { type, name } = field;
  const isNumber = type === 'bool' || type === 'int64';
  if (wireType !== (isNumber ? VARINT : LENGTH_DELIMITED)) return false;
  if (typeof type === 'object' && 'map' in type) {
    const item = decodeMessage(
      { 1: { name: 'key', type: 'string' }, 2: { name: 'value', type: type.map } },
      reader.bytes(),
    );
    const key = typeof item['key'] === 'string' ? item['key'] : '';
    const value = typeof item['value'] === 'string' ? item['value'] : '';
    message[name] = { ...(message[name] as Readonly<Record<string, string>>), [key]: value };
    return true;
  }
  const value = readValue(reader, type);
  const present = message[name];
  if (Array.isArray(present)) present.push(value);
  else message[name] = value;
  return true;
}

function readValue(
  reader: Reader,
  type: Exclude<FieldType, { readonly map: 'string' }>,
): FieldValue {
  if (type === 'bool') return reader.varint() !== 0;
  if (type === 'int64') return reader.int64();
  return type === 'string' ? reader.text() : decodeMessage(type.message, reader.bytes());
}

class Reader {
  #offset = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#offset >= this.#bytes.length;
  }

  /** The low 32 bits; larger values do not occur in the fields that are read. */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#bytes[this.#offset];
      if (byte === undefined) throw new RangeError('truncated protobuf message');
      this.#offset += 1;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw new RangeError('protobuf varint of more than ten bytes');
  }

  /** As a double: exact up to 2^53, which is enough for enumerations and for times in seconds. */
  int64(): number {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#offset];
      if (byte === undefined) throw new RangeError('truncated protobuf message');
      this.#offset += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(BigInt.asIntN(64, value));
    }
    throw new RangeError('protobuf varint of more than ten bytes');
  }

  bytes(): Uint8Array {
    const length = this.varint();
    return this.#take(length);
  }

  text(): string {
    return Buffer.from(this.bytes()).toString('utf8');
  }

  skip(wireType: number): void {
    if (wireType === VARINT) this.varint();
    else if (wireType === FIXED64) this.#take(8);
    else if (wireType === LENGTH_DELIMITED) this.bytes();
    else if (wireType === FIXED32) this.#take(4);
    else throw new RangeError(`protobuf wire type ${wireType} is not supported`);
  }

  #take(length: number): Uint8Array {
    const end = this.#offset + length;
    if (end > this.#bytes.length) throw new RangeError('truncated protobuf message');
    const part = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return part;
  }
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value >>> 0;
  while (rest >= 0x80) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}
