/** Archives block by block: entries of every kind with plausible and hostile names, and headers that lie. */
import fc from 'fast-check';

const BLOCK_BYTES = 512;

const segment = fc.constantFrom(
  ...[
    'bin',
    'share',
    'opt',
    'kata',
    'etc',
    'x',
    'VERSION',
    '.complete',
    '.',
    '..',
    '',
    'ü',
    'd'.repeat(90),
  ],
);
const path = fc
  .tuple(
    fc.constantFrom('', './', '/', 'opt/kata/', './opt/kata/', '/opt/kata/'),
    fc.array(segment, { maxLength: 4 }),
  )
  .map(([prefix, segments]) => prefix + segments.join('/'));
const name = fc.oneof(
  { weight: 8, arbitrary: path },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 100 }) },
);
const type = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('0', '0', '5', '1', '2', '2') },
  { weight: 1, arbitrary: fc.constantFrom('\0', '3', '4', '6', '7', 'S', 'V', 'D', 'M', '\u00ff') },
);
const mode = fc.oneof(fc.constantFrom(0o644, 0o755, 0o777), fc.integer({ min: 0, max: 0o7777 }));

interface Header {
  readonly name: string;
  readonly type: string;
  readonly mode: number;
  readonly link: string;
  readonly sizeBytes: number;
}

/** One block, its checksum right. What is too long for a field is cut. */
function block({ name: text, type: flag, mode: bits, link, sizeBytes }: Header): Buffer {
  const bytes = Buffer.alloc(BLOCK_BYTES);
  bytes.write(text, 0, 100, 'utf8');
  bytes.write(bits.toString(8).padStart(7, '0'), 100, 'latin1');
  bytes.write(sizeBytes.toString(8).padStart(11, '0'), 124, 'latin1');
  bytes.write(flag, 156, 1, 'latin1');
  bytes.write(link, 157, 100, 'utf8');
  bytes.write('ustar\x0000', 257, 'latin1');
  return withChecksum(bytes);
}

function withChecksum(bytes: Buffer): Buffer {
  bytes.fill(0x20, 148, 156);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}

function padded(content: Buffer): Buffer {
  const rest = (BLOCK_BYTES - (content.length % BLOCK_BYTES)) % BLOCK_BYTES;
  return Buffer.concat([content, Buffer.alloc(rest)]);
}

const entry = fc
  .record({
    name,
    type,
    mode,
    link: fc.oneof({ weight: 3, arbitrary: name }, { weight: 1, arbitrary: fc.constant('') }),
    content: fc.oneof(fc.constant(Buffer.alloc(0)), fc.uint8Array({ maxLength: 1200 })),
    lie: fc.oneof(
      { weight: 9, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.integer({ min: -600, max: 3000 }) },
    ),
  })
  .map(({ content, lie, ...header }) => {
    const isFile = ['0', '\0', '7', 'S'].includes(header.type);
    const bytes = isFile ? Buffer.from(content) : Buffer.alloc(0);
    const sizeBytes = Math.max(0, bytes.length + lie);
    return Buffer.concat([block({ ...header, sizeBytes }), padded(bytes)]);
  });

function record([key, value]: readonly [string, string]): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest) + 1;
  while (String(length).length + Buffer.byteLength(rest) !== length) length += 1;
  return `${length}${rest}`;
}

const paxKey = fc.constantFrom(
  'path',
  'linkpath',
  'size',
  'mtime',
  'GNU.sparse.size',
  'SCHILY.xattr.user.x',
);
const paxValue = fc.oneof(name, fc.constantFrom('0', '5', '99999999999999999', '-1'));
const metaContent = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .array(fc.tuple(paxKey, paxValue), { maxLength: 3 })
      .map((records) => records.map(record).join('')),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 60 }) },
  { weight: 2, arbitrary: name.map((text) => `${text}\0`) },
);
const meta = fc.tuple(fc.constantFrom('x', 'g', 'L', 'K'), metaContent).map(([flag, text]) => {
  const content = Buffer.from(text);
  const header = { name: 'meta', type: flag, mode: 0o644, link: '', sizeBytes: content.length };
  return Buffer.concat([block(header), padded(content)]);
});

const end = fc.oneof(
  { weight: 8, arbitrary: fc.constant(Buffer.alloc(2 * BLOCK_BYTES)) },
  { weight: 1, arbitrary: fc.constant(Buffer.alloc(0)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 1500 }).map((bytes) => Buffer.from(bytes)) },
);

/** A byte of some header, changed, and mostly its checksum with it. */
const damage = fc.tuple(fc.nat(), fc.nat(BLOCK_BYTES - 1), fc.nat(255), fc.boolean());

export const tarArchive: fc.Arbitrary<Buffer> = fc
  .tuple(
    fc.array(fc.oneof({ weight: 4, arbitrary: entry }, { weight: 1, arbitrary: meta }), {
      maxLength: 8,
    }),
    end,
    fc.oneof(
      { weight: 3, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.array(damage, { minLength: 1, maxLength: 3 }) },
    ),
    fc.oneof(
      { weight: 9, arbitrary: fc.constant(1) },
      { weight: 1, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }) },
    ),
  )
  .map(([parts, tail, damages, share]) => {
    const bytes = Buffer.concat([...parts, tail]);
    for (const [index, offset, byte, isSigned] of damages) {
      const blocks = Math.floor(bytes.length / BLOCK_BYTES);
      if (blocks === 0) break;
      const at = (index % blocks) * BLOCK_BYTES;
      bytes[at + offset] = byte;
      if (isSigned) withChecksum(bytes.subarray(at, at + BLOCK_BYTES));
    }
    return bytes.subarray(0, Math.ceil(bytes.length * share));
  });
