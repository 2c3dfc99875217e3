import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TarError } from '../../../../src/node/artifacts/tarHeader.ts';
import { TarReader, type TarEvent } from '../../../../src/node/artifacts/tarReader.ts';
import { tar } from '../fixtures/archives.ts';

/** What a reader says of an archive that comes in chunks of `size`. */
function read(archive: Uint8Array, size = archive.length) {
  const reader = new TarReader();
  const entries: (Extract<TarEvent, { kind: 'entry' }>['entry'] & { content: Buffer })[] = [];
  for (let at = 0; at < archive.length; at += size) {
    for (const event of reader.push(archive.subarray(at, at + size))) {
      if (event.kind === 'entry') entries.push({ ...event.entry, content: Buffer.alloc(0) });
      else {
        const last = entries.at(-1);
        if (last !== undefined) last.content = Buffer.concat([last.content, event.bytes]);
      }
    }
  }
  reader.end();
  return entries;
}

/** One header block, with a checksum that is right, unless `sum` is given. */
function block(
  fields: {
    name?: string | Buffer;
    mode?: string;
    size?: string | Buffer;
    type?: string;
    link?: string;
    magic?: string;
    prefix?: string;
    sum?: string;
  } = {},
): Buffer {
  const bytes = Buffer.alloc(512);
  const put = (at: number, value: string | Buffer | undefined, fallback: string): void => {
    const content = value ?? fallback;
    if (typeof content === 'string') bytes.write(content, at, 'latin1');
    else content.copy(bytes, at);
  };
  put(0, fields.name, 'bin/x');
  put(100, fields.mode, '0000644\0');
  put(124, fields.size, '00000000000\0');
  put(156, fields.type, '0');
  put(157, fields.link, '');
  put(257, fields.magic, 'ustar\x0000');
  put(345, fields.prefix, '');
  bytes.fill(0x20, 148, 156);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(fields.sum ?? `${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}
const END = Buffer.alloc(1024);
const padded = (content: Buffer | string): Buffer => {
  const bytes = Buffer.from(content);
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
};
const octal = (value: number): string => `${value.toString(8).padStart(11, '0')}\0`;
const meta = (type: string, content: Buffer | string): Buffer =>
  Buffer.concat([block({ type, size: octal(Buffer.byteLength(content)) }), padded(content)]);
function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest) + 1;
  while (String(length).length + Buffer.byteLength(rest) !== length) length += 1;
  return `${length}${rest}`;
}

describe('reading tar', () => {
  it('takes long names and names beyond ASCII, as pax and as GNU tar writes them', () => {
    const long = `share/${'d/'.repeat(120)}ü`;
    const pax = Buffer.concat([
      meta('x', record('path', long) + record('mtime', '1.5')),
      block(),
      END,
    ]);
    const gnu = Buffer.concat([
      meta('L', `${long}\0`),
      meta('K', 'target\0'),
      block({ type: '2', magic: 'ustar  \0' }),
      END,
    ]);
    expect(read(pax)).toMatchObject([{ name: long, type: 'file' }]);
    expect(read(gnu)).toMatchObject([{ name: long, type: 'symlink', linkname: 'target' }]);
    expect(read(Buffer.concat([block({ name: 'x', prefix: 'opt/kata/bin' }), END]))).toMatchObject([
      { name: 'opt/kata/bin/x' },
    ]);
  });

  it('takes an extended header for the next entry alone', () => {
    const archive = Buffer.concat([
      meta('x', record('path', 'first')),
      block(),
      block({ name: 'second' }),
      END,
    ]);
    expect(read(archive).map(({ name }) => name)).toEqual(['first', 'second']);
  });

  it('takes a comment for all entries, as archives of a repository have it', () => {
    expect(
      read(Buffer.concat([meta('g', record('comment', 'a'.repeat(40))), block(), END])),
    ).toHaveLength(1);
  });

  const cases: readonly [string, Buffer, RegExp][] = [
    ['with a wrong checksum', block({ sum: '000001\0 ' }), /damaged/],
    ['with a field that is no number', block({ size: 'zzzzzzzzzzz\0' }), /damaged/],
    ['of an unknown kind', block({ magic: 'USTAR\x0000' }), /unknown kind/],
    [
      'with a size beyond all measure',
      block({ size: Buffer.from([0xff, ...Array<number>(11).fill(0xff)]) }),
      /absurd/,
    ],
    [
      'with a negative size',
      block({ size: Buffer.concat([Buffer.from([0xff]), Buffer.alloc(11, 0xff)]) }),
      /absurd/,
    ],
    [
      'with content on a link',
      block({ type: '1', link: 'bin/y', size: octal(5) }),
      /claims to have content/,
    ],
    ['with content on a directory', block({ type: '5', size: octal(5) }), /claims to have content/],
    ['with a sparse file in the way of pax', meta('x', record('GNU.sparse.major', '1')), /sparse/],
    ['with one name for all entries', meta('g', record('path', 'x')), /global header/],
    ['with a pax record that is too long', meta('x', '99 path=x\n'), /malformed/],
    ['with a pax record without an end', meta('x', '9 path=x '), /malformed/],
    ['with a pax record without a length', meta('x', ' path=x\n'), /malformed/],
    ['with a pax record of no length', meta('x', '0 path=x\n'), /malformed/],
    ['with two names for one entry', meta('x', record('path', 'a') + record('path', 'b')), /twice/],
    ['with a pax size that is no number', meta('x', record('size', '1e3')), /no number/],
    [
      'with an extended header that fills the memory',
      block({ type: 'x', size: octal(2 ** 30) }),
      /too large/,
    ],
    [
      'with a long name that fills the memory',
      block({ type: 'L', size: octal(2 ** 30) }),
      /too large/,
    ],
    [
      'with extended headers without end',
      Buffer.concat(Array.from({ length: 9 }, () => meta('x', record('path', 'a')))),
      /too many/,
    ],
    [
      'with an extended header and nothing behind it',
      Buffer.concat([meta('x', record('path', 'a')), END]),
      /too early/,
    ],
    ['with something behind its end', Buffer.concat([block(), END, block()]), /follows its end/],
    [
      'with an entry behind a single empty block',
      Buffer.concat([block(), Buffer.alloc(512), block()]),
      /follows its end/,
    ],
    ['without an end', block(), /too early/],
    ['cut off within a header', Buffer.concat([block(), block().subarray(0, 100)]), /too early/],
    [
      'cut off within a content',
      Buffer.concat([block({ size: octal(2000) }), Buffer.alloc(1000)]),
      /too early/,
    ],
  ];
  it.each(cases)('refuses an archive %s', (_, archive, message) => {
    for (const size of [1, 511, 512, 4096]) {
      expect(() => read(archive, size)).toThrow(TarError);
      expect(() => read(archive, size)).toThrow(message);
    }
  });

  it('names a sparse file of GNU tar as what it is, so that it is refused by name', () => {
    expect(read(Buffer.concat([block({ type: 'S' }), END]))).toMatchObject([
      { type: 'sparse-file' },
    ]);
  });

  it('reads what another program writes, however it is cut', async () => {
    const entry = fc.record({
      name: fc
        .string({ unit: 'grapheme', minLength: 1, maxLength: 300 })
        .filter((name) => !/[\0\n]|\/$/.test(name) && name.isWellFormed()),
      content: fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
      mode: fc.integer({ min: 1, max: 0o777 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(entry, { maxLength: 6 }),
        fc.integer({ min: 1, max: 2000 }),
        async (entries, size) => {
          const found = read(await tar(entries), size);
          expect(found.map(({ name, content, mode }) => ({ name, content, mode }))).toEqual(
            entries,
          );
        },
      ),
      { numRuns: 200 },
    );
  });

  it('reads sizes beyond eight gigabytes as GNU tar writes them', () => {
    const base256 = Buffer.alloc(12);
    base256[0] = 0x80;
    base256.writeBigUInt64BE(BigInt(9 * 1024 ** 3), 4);
    expect([...new TarReader().push(block({ size: base256 }))]).toMatchObject([
      { entry: { sizeBytes: 9 * 1024 ** 3 } },
    ]);
  });
});
