/**
 * D-Bus messages to bytes and back (D-Bus specification, "Message Protocol"): the header, its fields, the body.
 *
 * Pure: no socket here. A message of unreasonable size is refused before it is waited for.
 */
import { aligned, type DbusValue, Reader, splitSignature, Writer } from './dbusMarshal.ts';

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

function isLittle(bytes: Buffer): boolean {
  if (bytes[0] !== 0x6c && bytes[0] !== 0x42) throw new RangeError('not a D-Bus message');
  return bytes[0] === 0x6c;
}
