import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DbusValue, splitSignature } from '../../../../src/node/host/dbusMarshal.ts';
import {
  type DbusMessage,
  decodeMessage,
  encodeMessage,
  messageLength,
} from '../../../../src/node/host/dbusWire.ts';

const call = (signature: string, body: readonly DbusValue[]): DbusMessage => ({
  type: 'call',
  serial: 1,
  destination: 'org.freedesktop.systemd1',
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
  member: 'RestartUnit',
  signature,
  body,
});

describe('the bytes of a message', () => {
  test('are those of the specification: header, fields on eight bytes, body', () => {
    const bytes = encodeMessage({
      type: 'call',
      serial: 7,
      path: '/a',
      member: 'M',
      signature: 's',
      body: ['hi'],
    });
    const expected = Buffer.concat([
      Buffer.from([0x6c, 1, 0, 1, 7, 0, 0, 0, 7, 0, 0, 0]),
      Buffer.from([39, 0, 0, 0]),
      Buffer.from([1, 1, 0x6f, 0, 2, 0, 0, 0, 0x2f, 0x61, 0, 0, 0, 0, 0, 0]), // path, padded to 8
      Buffer.from([3, 1, 0x73, 0, 1, 0, 0, 0, 0x4d, 0, 0, 0, 0, 0, 0, 0]), // member, padded to 8
      Buffer.from([8, 1, 0x67, 0, 1, 0x73, 0, 0]), // signature, and one byte of padding before the body
      Buffer.from([2, 0, 0, 0, 0x68, 0x69, 0]),
    ]);
    expect(bytes.toString('hex')).toBe(expected.toString('hex'));
  });

  test('come back as the message they were made of', () => {
    const text = fc
      .string({ maxLength: 20 })
      .map((value) => value.toWellFormed().replaceAll('\0', ''));
    fc.assert(
      fc.property(
        text,
        fc.nat(),
        fc.boolean(),
        fc.array(text, { maxLength: 4 }),
        fc.array(fc.tuple(text, fc.nat()), { maxLength: 3 }),
        (s, u, b, list, pairs) => {
          const body: DbusValue[] = [
            s,
            u,
            b,
            list,
            pairs,
            ['s', s],
            pairs.map(([key, value]) => [key, ['u', value]]),
          ];
          const decoded = decodeMessage(encodeMessage(call('subasa(su)va{sv}', body)));
          expect(decoded).toMatchObject({
            type: 'call',
            member: 'RestartUnit',
            destination: 'org.freedesktop.systemd1',
          });
          expect(decoded.body).toEqual([s, u, b, list, pairs, s, pairs]);
        },
      ),
    );
  });

  test('tell their length from the first sixteen on', () => {
    const bytes = encodeMessage(call('ss', ['containerd.service', 'replace']));
    expect(messageLength(bytes.subarray(0, 15))).toBeUndefined();
    expect(messageLength(bytes.subarray(0, 16))).toBe(bytes.length);
    expect(messageLength(Buffer.concat([bytes, bytes]))).toBe(bytes.length);
  });

  test('of a big-endian peer are read', () => {
    const bytes = Buffer.from(
      '4202000100000004000000050000000f' + '0501750000000009' + '0801670001750000' + '0000002a',
      'hex',
    );
    expect(decodeMessage(bytes)).toMatchObject({
      type: 'return',
      serial: 5,
      replySerial: 9,
      body: [42],
    });
  });

  test.for([
    { name: 'not D-Bus', bytes: Buffer.from('GET / HTTP/1.1\r\n\r\n') },
    {
      name: 'a size beyond all reason',
      bytes: Buffer.from('6c010001ffffffff0100000000000000', 'hex'),
    },
  ])('are refused when they are $name', ({ bytes }) => {
    expect(() => messageLength(bytes)).toThrow(RangeError);
  });

  test('that lie about a length are refused, never read beyond', () => {
    const bytes = encodeMessage(call('s', ['hello']));
    bytes.writeUInt32LE(5000, bytes.length - 10);
    expect(() => decodeMessage(bytes)).toThrow(/truncated/);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 200 }), (noise) => {
        const message = Buffer.concat([Buffer.from([0x6c, 2, 0, 1]), noise]);
        try {
          decodeMessage(message);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});

test('a signature falls into its complete types', () => {
  expect(splitSignature('sa{sv}(us)aaiv')).toEqual(['s', 'a{sv}', '(us)', 'aai', 'v']);
  expect(() => splitSignature('a(s')).toThrow(RangeError);
  expect(() => splitSignature('a()')).toThrow(RangeError);
});
