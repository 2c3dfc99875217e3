import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeMessage,
  encodeMessage,
  type MessageShape,
} from '../../../../src/node/engine/cri/wire.ts';

const CONDITION: MessageShape = {
  1: { name: 'type', type: 'string' },
  2: { name: 'status', type: 'bool' },
};
const SHAPE: MessageShape = {
  1: { name: 'conditions', type: { message: CONDITION }, repeated: true },
  2: { name: 'info', type: { map: 'string' } },
  17: { name: 'note', type: 'string' },
};
const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');

describe('the protobuf wire format', () => {
  test('of a request is field by field', () => {
    expect(encodeMessage(CONDITION, { type: 'é', status: true }).toString('hex')).toBe(
      '0a02c3a91001',
    );
    expect(encodeMessage(CONDITION, {}).length).toBe(0);
    const long = encodeMessage({ 17: { name: 'note', type: 'string' } }, { note: 'x'.repeat(300) });
    expect(long.subarray(0, 4).toString('hex')).toBe('8a01ac02');
  });

  test('gives lists, maps and nested messages, and skips what it does not know', () => {
    const message = decodeMessage(
      SHAPE,
      bytes(
        '0a05 0a01 41 1001' +
          '0a03 0a0142' +
          '1206 0a0161 120162' +
          '9806 ffffffffffffffffff01' +
          '2102030405060708 09' +
          '3d01020304' +
          '8a0101 6e' +
          '5203 616263',
      ),
    );
    expect(message).toEqual({
      conditions: [{ type: 'A', status: true }, { type: 'B' }],
      info: { a: 'b' },
      note: 'n',
    });
  });

  test('of an empty answer still has its lists and maps', () => {
    expect(decodeMessage(SHAPE, Buffer.alloc(0))).toEqual({ conditions: [], info: {} });
  });

  test('of a field with a foreign wire type is skipped like an unknown one', () => {
    expect(decodeMessage(CONDITION, bytes('0801 1001'))).toEqual({ status: true });
  });

  test('that is cut short or nonsense is a RangeError, whatever it is', () => {
    expect(() => decodeMessage(SHAPE, bytes('0a05 0a'))).toThrow(RangeError);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (noise) => {
        try {
          decodeMessage(SHAPE, noise);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });

  test('comes back as it was', () => {
    const text = fc.string().map((value) => value.toWellFormed());
    fc.assert(
      fc.property(text, fc.boolean(), (type, status) => {
        expect(decodeMessage(CONDITION, encodeMessage(CONDITION, { type, status }))).toEqual({
          type,
          status,
        });
      }),
    );
  });
});
