import fc from 'fast-check';
import { mkdir, readFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { KataError } from '../../../../src/errors.ts';
import { decompress } from '../../../../src/node/artifacts/formats.ts';
import { TreeModel, type TreeLimits } from '../../../../src/node/artifacts/treeModel.ts';
import { TreeWriter } from '../../../../src/node/artifacts/treeWriter.ts';
import { unpackArchive } from '../../../../src/node/artifacts/unpack.ts';
import {
  gz,
  kataTree,
  sha256,
  tar,
  treeEntries,
  zst,
  type TarEntry,
} from '../fixtures/archives.ts';
import { RELEASE_XZ } from '../fixtures/releaseXz.ts';
import { snapshot, temporaryDirectory } from '../fixtures/host.ts';

const signal = new AbortController().signal;

async function unpack(archives: readonly Buffer[], limits?: TreeLimits) {
  const directory = await temporaryDirectory();
  const model = new TreeModel(limits);
  const writer = new TreeWriter(directory);
  try {
    for (const [i, bytes] of archives.entries()) {
      const compressed = Readable.from(chunked(bytes, 1000)) as AsyncIterable<Uint8Array>;
      await unpackArchive({ archive: `archive-${i}.tar`, compressed, model, writer, signal });
    }
    model.checkLinks();
    await writer.drain(signal);
    await writer.flush(signal);
    return { directory, entries: writer.tree().entries.filter(({ type }) => type !== 'directory') };
  } finally {
    await writer.close();
  }
}

function* chunked(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function refusal(work: Promise<unknown>): Promise<KataError> {
  const thrown: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(thrown instanceof KataError)) throw new Error(`not refused: ${String(thrown)}`);
  return thrown;
}

const file = (name: string, content = 'x'): TarEntry => ({ name, content });
const link = (name: string, linkname: string): TarEntry => ({ name, type: 'symlink', linkname });
const hard = (name: string, linkname: string): TarEntry => ({ name, type: 'link', linkname });
const directory = (name: string): TarEntry => ({ name, type: 'directory', mode: 0o755 });

describe('unpacking an archive', () => {
  it.each([
    ['zst', zst],
    ['gz', gz],
  ])(
    'places the files of a release in .tar.%s, with modes, links and digests',
    async (_, compress) => {
      const { directory: at, entries } = await unpack([
        compress(await tar(treeEntries(kataTree()))),
      ]);
      expect(await readFile(join(at, 'VERSION'), 'utf8')).toBe('4.1.0\n');
      expect((await stat(join(at, 'bin/firecracker'))).mode & 0o7777).toBe(0o755);
      expect(await readFile(join(at, 'share/kata-containers/vmlinux.container'), 'utf8')).toBe(
        'kernel',
      );
      const image = entries.find(({ path }) => path.endsWith('.img'));
      expect(image).toMatchObject({
        sizeBytes: 300_000,
        mode: 0o644,
        sha256: sha256(Buffer.alloc(300_000, 'image')),
      });
      expect(entries.map(({ path }) => path)).toEqual(Object.keys(kataTree()).sort());
    },
  );

  it('knows a format by its bytes and not by its name', async () => {
    const content = await tar([file('bin/x')]);
    await expect(unpack([gz(content)])).resolves.toBeDefined();
    expect(await refusal(unpack([content]))).toMatchObject({
      code: 'KATA_E_ARTIFACT_FORMAT',
      message: expect.stringContaining('neither zstd nor xz nor gzip') as string,
    });
    expect(await refusal(unpack([Buffer.from('<html>404</html>')]))).toMatchObject({
      code: 'KATA_E_ARTIFACT_FORMAT',
    });
    expect(await refusal(unpack([Buffer.alloc(0)]))).toMatchObject({
      code: 'KATA_E_ARTIFACT_FORMAT',
    });
  });

  it('reads .tar.xz', async () => {
    const { directory: at } = await unpack([RELEASE_XZ]);
    expect(await readFile(join(at, 'VERSION'), 'utf8')).toBe('4.1.0\n');
    expect(await readFile(join(at, 'share/kata-containers/vmlinux.container'), 'utf8')).toBe(
      'kernel',
    );
  });

  it('reads a zstd file of many frames, as parallel compressors write it, whole', async () => {
    const content = await tar(treeEntries(kataTree()));
    const frames = [...chunked(content, 10_000)].map(zst);
    const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7]);
    const { entries } = await unpack([Buffer.concat([skippable, ...frames])]);
    expect(entries.map(({ path }) => path)).toEqual(Object.keys(kataTree()).sort());
  });

  it.each([
    ['cut off', (bytes: Buffer) => bytes.subarray(0, bytes.length - 20)],
    [
      'followed by something else',
      (bytes: Buffer) => Buffer.concat([bytes, Buffer.from('trash and more trash')]),
    ],
    [
      'changed in the middle',
      (bytes: Buffer) =>
        Buffer.concat([bytes.subarray(0, 200), Buffer.alloc(40, 0xaa), bytes.subarray(240)]),
    ],
  ])('refuses an archive that is %s, in every format', async (_, damage) => {
    const content = await tar(treeEntries(kataTree()));
    for (const archive of [zst(content), gz(content), RELEASE_XZ]) {
      const error = await refusal(unpack([damage(archive)]));
      expect(error.code).toMatch(/^KATA_E_ARTIFACT_(FORMAT|HOSTILE)$/);
    }
  });

  it('refuses what decompresses to something that is no tar archive, and an empty one', async () => {
    expect(await refusal(unpack([zst(Buffer.alloc(4096, 'no tar'))]))).toMatchObject({
      code: 'KATA_E_ARTIFACT_FORMAT',
    });
    expect(await refusal(unpack([zst(await tar([]))]))).toMatchObject({
      code: 'KATA_E_ARTIFACT_FORMAT',
      message: expect.stringContaining('it holds nothing') as string,
    });
  });

  it('lets a later archive replace files of an earlier one, never writing through a link', async () => {
    const first = await tar([
      file('opt/kata/bin/a', 'old'),
      hard('opt/kata/bin/b', 'opt/kata/bin/a'),
      link('opt/kata/bin/c', 'a'),
    ]);
    const second = await tar([file('opt/kata/bin/a', 'new'), file('opt/kata/bin/c', 'was a link')]);
    const { directory: at, entries } = await unpack([zst(first), zst(second)]);
    expect(await readFile(join(at, 'bin/a'), 'utf8')).toBe('new');
    expect(await readFile(join(at, 'bin/b'), 'utf8')).toBe('old');
    expect(await readFile(join(at, 'bin/c'), 'utf8')).toBe('was a link');
    expect(entries.map(({ path }) => path)).toEqual(['bin/a', 'bin/b', 'bin/c']);
  });

  it('makes absolute links into /opt/kata relative, and keeps a dangling one', async () => {
    const { directory: at } = await unpack([
      zst(
        await tar([
          file('opt/kata/share/x/f'),
          link('opt/kata/bin/f', '/opt/kata/share/x/f'),
          link('opt/kata/bin/gone', 'nowhere'),
        ]),
      ),
    ]);
    expect((await snapshot(at))['bin/f']).toBe('link ../share/x/f');
    expect((await snapshot(at))['bin/gone']).toBe('link nowhere');
  });

  it('clears the write bits of group and others', async () => {
    const { directory: at } = await unpack([
      zst(
        await tar([
          { ...file('bin/x'), mode: 0o777 },
          { name: 'share', type: 'directory', mode: 0o777 },
        ]),
      ),
    ]);
    expect((await stat(join(at, 'bin/x'))).mode & 0o7777).toBe(0o755);
    expect((await stat(join(at, 'share'))).mode & 0o7777).toBe(0o755);
  });
});

describe('a hostile archive', () => {
  const cases: readonly [string, readonly TarEntry[], string][] = [
    ['an absolute path', [file('/opt/kata/bin/x')], 'absolute'],
    ['a path through ..', [file('opt/kata/../../etc/passwd')], '".."'],
    ['.. behind the prefix', [file('opt/kata/bin/../x')], '".."'],
    ['a path outside opt/kata', [file('etc/resolv.conf')], 'outside'],
    ['a directory outside opt/kata', [directory('etc')], 'outside'],
    ['a file where /opt/kata is', [file('opt/kata')], 'outside'],
    ['a name that only begins like opt/kata', [file('opt/kata-evil/x')], 'outside'],
    ['a path with an empty segment', [file('opt/kata/bin//x')], 'not clean'],
    ['our own marker', [file('opt/kata/.complete')], 'reserved'],
    ['a control character', [file('bin/x\u001b[2J')], 'control'],
    ['a character that deletes', [file('bin/x\u007f')], 'u007f'],
    ['a name that turns the line around', [file('etc/x\u202e')], 'u202e'],
    ['a name that is no UTF-8', [file('bin/\ufffd')], 'UTF-8'],
    ['a name that is too long', [file(`bin/${'x'.repeat(256)}`)], 'too long'],
    ['an absolute link', [link('bin/x', '/etc/passwd')], '/etc/passwd'],
    [
      'an absolute link that climbs out of /opt/kata',
      [link('bin/x', '/opt/kata/../../etc/passwd')],
      'passwd',
    ],
    ['a link out of the tree', [link('bin/x', '../../etc/passwd')], 'out of the version'],
    [
      'a link that leads out by way of another',
      [directory('share/x'), link('share/x/d', '../..'), link('bin/x', '../share/x/d/../etc')],
      'out of the version',
    ],
    ['links in a circle', [link('bin/a', 'b'), link('bin/b', 'a')], 'circle'],
    ['a link without a target', [link('bin/x', '')], 'no target'],
    [
      'a file through a linked directory',
      [directory('share/d'), link('bin', 'share/d'), file('bin/x')],
      'not a directory',
    ],
    ['a file below a file', [file('bin/x'), file('bin/x/y')], 'not a directory'],
    ['a hard link to a file of the host', [hard('bin/x', '/etc/passwd')], 'absolute'],
    ['a hard link out of the tree', [hard('bin/x', 'opt/kata/../../etc/passwd')], '".."'],
    ['a hard link to what is not there', [hard('bin/x', 'bin/y')], 'not a file of the archive'],
    [
      'a hard link to a link',
      [link('bin/y', 'z'), hard('bin/x', 'bin/y')],
      'not a file of the archive',
    ],
    [
      'a character device',
      [{ name: 'bin/x', type: 'character-device', devmajor: 1, devminor: 3 }],
      'character-device',
    ],
    ['a block device', [{ name: 'bin/x', type: 'block-device' }], 'block-device'],
    ['a fifo', [{ name: 'bin/x', type: 'fifo' }], 'fifo'],
    ['a setuid file', [{ ...file('bin/x'), mode: 0o4755 }], 'setuid'],
    ['a setgid file', [{ ...file('bin/x'), mode: 0o2755 }], 'setgid'],
    ['a file twice', [file('bin/x', 'good'), file('./bin/x', 'bad')], 'twice'],
    [
      'a file twice, by two prefixes',
      [file('bin/x', 'good'), file('opt/kata/bin/x', 'bad')],
      'twice',
    ],
    [
      'a file in place of a directory',
      [file('share/x/y'), file('share/x')],
      'a directory of that name',
    ],
    [
      'a directory in place of a file',
      [file('share/x'), directory('share/x')],
      'a file of that name',
    ],
  ];

  it.each(cases)('with %s is refused by name', async (_, entries, cause) => {
    const error = await refusal(unpack([zst(await tar(entries))]));
    expect(error).toMatchObject({ code: 'KATA_E_ARTIFACT_HOSTILE' });
    expect(error.message).toContain(cause);
    expect(error.message).toContain('archive-0.tar');
    expect(error.message).not.toMatch(/[\u0000-\u001f]/);
  });

  it('with more entries or bytes than allowed is refused while it is read', async () => {
    const many = await tar(Array.from({ length: 20 }, (_, i) => file(`bin/${i}`)));
    expect(await refusal(unpack([zst(many)], { entries: 10, totalBytes: 1000 }))).toMatchObject({
      code: 'KATA_E_ARTIFACT_HOSTILE',
      message: expect.stringContaining('more than 10 entries') as string,
    });
    const bomb = await tar([file('bin/bomb', Buffer.alloc(5_000_000).toString())]);
    expect(
      await refusal(unpack([zst(bomb)], { entries: 10, totalBytes: 1_000_000 })),
    ).toMatchObject({ message: expect.stringContaining('more than 1000000 bytes') as string });
  });

  it('never writes a byte outside its directory, whatever its names and links are', async () => {
    const segment = fc.constantFrom(
      '..',
      '.',
      '',
      'bin',
      'share',
      'opt',
      'kata',
      'etc',
      'x',
      '/',
      'VERSION',
    );
    const path = fc
      .array(segment, { minLength: 1, maxLength: 5 })
      .map((segments) => segments.join('/'))
      .filter((name) => name !== '');
    const entry: fc.Arbitrary<TarEntry> = fc.oneof(
      path.map((name) => file(name)),
      path.map((name) => directory(name)),
      fc.tuple(path, path).map(([name, to]) => link(name, to)),
      fc.tuple(path, path).map(([name, to]) => hard(name, to)),
    );
    const outside = await temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { minLength: 1, maxLength: 8 }), async (entries) => {
        const at = join(outside, 'a/b/version');
        await mkdir(at, { recursive: true });
        const model = new TreeModel();
        const writer = new TreeWriter(at);
        const compressed = Readable.from([gz(await tar(entries))]) as AsyncIterable<Uint8Array>;
        await unpackArchive({ archive: 'x', compressed, model, writer, signal })
          .then(() => writer.drain(signal))
          .catch((error: unknown) => {
            expect(error).toBeInstanceOf(KataError);
          })
          .finally(() => writer.close());
        expect([
          await readdir(outside),
          await readdir(join(outside, 'a')),
          await readdir(join(outside, 'a/b')),
        ]).toEqual([['a'], ['b'], ['version']]);
        await rm(join(outside, 'a'), { recursive: true });
      }),
      { numRuns: 150 },
    );
  });
});

describe('zstd frames', () => {
  it('give the same bytes however they are cut, in frames and in chunks', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 2000 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 700 }),
        async (parts, size) => {
          const compressed = Buffer.concat(parts.map((part) => zst(Buffer.from(part))));
          const out: Buffer[] = [];
          for await (const chunk of decompress(
            'zstd',
            Readable.from(chunked(compressed, size)) as AsyncIterable<Uint8Array>,
          ))
            out.push(Buffer.from(chunk));
          expect(Buffer.concat(out).equals(Buffer.concat(parts))).toBe(true);
        },
      ),
      { numRuns: 100 },
    );
  });
});
