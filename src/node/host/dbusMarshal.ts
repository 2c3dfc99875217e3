/**
 * D-Bus values to bytes and back, by signature and with alignment (D-Bus specification, "Type System" and
 * "Marshaling"). We write little-endian and read both.
 *
 * Pure. What a peer sends is checked against its own lengths before it is believed.
 */

export type DbusValue = string | number | bigint | boolean | DbusValue[];

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

export function aligned(offset: number, to: number): number {
  return Math.ceil(offset / to) * to;
}

export class Writer {
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

export class Reader {
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
