/**
 * D-Bus messages to bytes and back (D-Bus specification, "Message Protocol"): marshalling by signature,
 * alignment, header fields. We write little-endian and read both.
 *
 * Pure: no socket here. What a peer sends is checked against its own lengths before it is believed.
 */

export type DbusValue = string | number | bigint | boolean | DbusValue[];

export interface DbusMessage {
  readonly type: 'call' | 'return' | 'error' | 'signal';
  readonly serial: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly errorName?: string;
  readonly replySerial?: number;
  readonly destination?: string;
  readonly sender?: string;
  readonly signature?: string;
  readonly body: readonly DbusValue[];
}

const TYPES = ['call', 'return', 'error', 'signal'] as const;
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** Header field code → property of the message and its type. */
const FIELDS = {
  1: ['path', 'o'],
  2: ['interface', 's'],
  3: ['member', 's'],
  4: ['errorName', 's'],
  5: ['replySerial', 'u'],
  6: ['destination', 's'],
  7: ['sender', 's'],
  8: ['signature', 'g'],
} as const;

export function encodeMessage(message: DbusMessage): Buffer {
  const body = new Writer();
  for (const [index, type] of splitSignature(message.signature ?? '').entries()) {
    const value = message.body[index];
    if (value === undefined)
      throw new TypeError(`no value for part ${index} of ${message.signature ?? ''}`);
    body.write(type, value);
  }
  const header = new Writer();
  for (const byte of [0x6c, TYPES.indexOf(message.type) + 1, 0, 1]) header.write('y', byte);
  header.write('u', body.length);
  header.write('u', message.serial);
  const fields: DbusValue[] = [];
  for (const [code, [name, type]] of Object.entries(FIELDS)) {
    const value = message[name];
    if (value !== undefined) fields.push([Number(code), [type, value]]);
  }
  header.write('a(yv)', fields);
  header.align(8);
  return Buffer.concat([header.bytes(), body.bytes()]);
}

/** Bytes of the message that begins here, header included; undefined while its fixed part is incomplete. */
export function messageLength(bytes: Buffer): number | undefined {
  if (bytes.length < 16) return undefined;
  const little = isLittle(bytes);
  const bodyLength = little ? bytes.readUInt32LE(4) : bytes.readUInt32BE(4);
  const fieldsLength = little ? bytes.readUInt32LE(12) : bytes.readUInt32BE(12);
  const length = aligned(16 + fieldsLength, 8) + bodyLength;
  if (length > MAX_MESSAGE_BYTES) throw new RangeError(`D-Bus message of ${length} bytes`);
  return length;
}

/** `bytes` holds exactly one message. */
export function decodeMessage(bytes: Buffer): DbusMessage {
  const reader = new Reader(bytes, isLittle(bytes));
  const type = TYPES[(bytes[1] ?? 0) - 1];
  if (type === undefined) throw new RangeError(`D-Bus message of type ${bytes[1] ?? 0}`);
  reader.skip(8);
  const serial = Number(reader.read('u'));
  const fields: Record<string, DbusValue> = {};
  for (const entry of reader.read('a(yv)') as [number, DbusValue][]) {
    const field = FIELDS[entry[0] as keyof typeof FIELDS] as readonly [string, string] | undefined;
    if (field !== undefined) fields[field[0]] = entry[1];
  }
  reader.align(8);
  const signature = typeof fields['signature'] === 'string' ? fields['signature'] : '';
  return {
    type,
    serial,
    ...fields,
    body: splitSignature(signature).map((part) => reader.read(part)),
  };
}

/** `sa{sv}u` → `s`, `a{sv}`, `u` */
export function splitSignature(signature: string): string[] {
  const parts: string[] = [];
  for (let start = 0; start < signature.length;) {
    const end = typeEnd(signature, start);
    parts.push(signature.slice(start, end));
    start = end;
  }
  return parts;
}

function typeEnd(signature: string, start: number): number {
  const code = signature[start];
  if (code === 'a') return typeEnd(signature, start + 1);
  if (code !== '(' && code !== '{') {
    if (code === undefined) throw new RangeError(`D-Bus signature "${signature}" is incomplete`);
    return start + 1;
  }
  const close = code === '(' ? ')' : '}';
  // An empty structure takes no bytes: an array of them would be read for ever.
  if (signature[start + 1] === close)
    throw new RangeError(`D-Bus signature "${signature}" has an empty structure`);
  let end = start + 1;
  while (signature[end] !== close) end = typeEnd(signature, end);
  return end + 1;
}

function alignmentOf(type: string): number {
  const code = type[0] ?? '';
  if ('ygv'.includes(code)) return 1;
  if ('nq'.includes(code)) return 2;
  return 'xtd({'.includes(code) ? 8 : 4;
}

function aligned(offset: number, to: number): number {
  return Math.ceil(offset / to) * to;
}

function isLittle(bytes: Buffer): boolean {
  if (bytes[0] !== 0x6c && bytes[0] !== 0x42) throw new RangeError('not a D-Bus message');
  return bytes[0] === 0x6c;
}

class Writer {
  #bytes = Buffer.alloc(0);

  get length(): number {
    return this.#bytes.length;
  }

  bytes(): Buffer {
    return this.#bytes;
  }

  align(to: number): void {
    this.#append(Buffer.alloc(aligned(this.length, to) - this.length));
  }

  write(type: string, value: DbusValue): void {
    const code = type[0] ?? '';
    this.align(alignmentOf(type));
    if (code === 'a') this.#array(type.slice(1), value as DbusValue[]);
    else if (code === '(' || code === '{')
      splitSignature(type.slice(1, -1)).forEach((part, index) => {
        this.write(part, (value as DbusValue[])[index] ?? '');
      });
    else if (code === 'v') this.#variant(value as [string, DbusValue]);
    else if (code === 's' || code === 'o') this.#text(String(value), 4);
    else if (code === 'g') this.#text(String(value), 1);
    else if (code === 'y') this.#append(Buffer.from([Number(value)]));
    else if (code === 'u' || code === 'b') this.#append(uint32(Number(value)));
    else throw new TypeError(`D-Bus type ${code} is not written by this program`);
  }

  #variant([type, value]: [string, DbusValue]): void {
    this.write('g', type);
    this.write(type, value);
  }

  #array(type: string, values: readonly DbusValue[]): void {
    const lengthAt = this.length;
    this.#append(uint32(0));
    this.align(alignmentOf(type));
    const start = this.length;
    for (const value of values) this.write(type, value);
    this.#bytes.writeUInt32LE(this.length - start, lengthAt);
  }

  #text(value: string, lengthBytes: 1 | 4): void {
    const bytes = Buffer.from(`${value}\0`, 'utf8');
    this.#append(lengthBytes === 1 ? Buffer.from([bytes.length - 1]) : uint32(bytes.length - 1));
    this.#append(bytes);
  }

  #append(part: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, part]);
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

class Reader {
  #offset = 0;
  readonly #bytes: Buffer;
  readonly #little: boolean;

  constructor(bytes: Buffer, little: boolean) {
    this.#bytes = bytes;
    this.#little = little;
  }

  skip(length: number): void {
    this.#offset += length;
  }

  align(to: number): void {
    this.#offset = aligned(this.#offset, to);
  }

  read(type: string): DbusValue {
    const code = type[0] ?? '';
    this.align(alignmentOf(type));
    if (code === 'a') return this.#array(type.slice(1));
    if (code === '(' || code === '{')
      return splitSignature(type.slice(1, -1)).map((part) => this.read(part));
    if (code === 'v') return this.read(String(this.read('g')));
    if (code === 's' || code === 'o') return this.#text(this.#uint32());
    if (code === 'g') return this.#text(this.#take(1).readUInt8());
    if (code === 'b') return this.#uint32() !== 0;
    if (code === 'u' || code === 'h') return this.#uint32();
    return this.#number(code);
  }

  #number(code: string): DbusValue {
    const little = this.#little;
    if (code === 'y') return this.#take(1).readUInt8();
    if (code === 'n') return little ? this.#take(2).readInt16LE() : this.#take(2).readInt16BE();
    if (code === 'q') return little ? this.#take(2).readUInt16LE() : this.#take(2).readUInt16BE();
    if (code === 'i') return little ? this.#take(4).readInt32LE() : this.#take(4).readInt32BE();
    if (code === 'x')
      return little ? this.#take(8).readBigInt64LE() : this.#take(8).readBigInt64BE();
    if (code === 't')
      return little ? this.#take(8).readBigUInt64LE() : this.#take(8).readBigUInt64BE();
    if (code === 'd') return little ? this.#take(8).readDoubleLE() : this.#take(8).readDoubleBE();
    throw new RangeError(`D-Bus type "${code}" is unknown`);
  }

  #array(type: string): DbusValue[] {
    const length = this.#uint32();
    this.align(alignmentOf(type));
    const end = this.#offset + length;
    if (end > this.#bytes.length) throw new RangeError('truncated D-Bus message');
    const values: DbusValue[] = [];
    while (this.#offset < end) values.push(this.read(type));
    return values;
  }

  #uint32(): number {
    this.align(4);
    const bytes = this.#take(4);
    return this.#little ? bytes.readUInt32LE() : bytes.readUInt32BE();
  }

  #text(length: number): string {
    return this.#take(length + 1).toString('utf8', 0, length);
  }

  #take(length: number): Buffer {
    const end = this.#offset + length;
    if (end > this.#bytes.length) throw new RangeError('truncated D-Bus message');
    const part = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return part;
  }
}
