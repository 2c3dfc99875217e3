import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeBundle, type BundleOptions } from '../../../../src/node/artifacts/bundle.ts';
import { DOWNLOAD_LIMITS } from '../../../../src/node/artifacts/download.ts';
import { kataTree, sha256, tar, treeEntries, zst } from '../fixtures/archives.ts';
import { temporaryDirectory } from '../fixtures/host.ts';
import { fileServer, serve, whenWritten } from '../fixtures/serve.ts';

const STATIC = 'kata-static-4.1.0-amd64.tar.zst';
const GO = 'kata-go-static-4.1.0-rc1-arm64.tar.zst';

async function archiveFile(name: string, content?: Buffer): Promise<string> {
  const file = join(await temporaryDirectory(), name);
  await writeFile(file, content ?? zst(await tar(treeEntries(kataTree()))));
  return file;
}

async function bundleOf(sources: BundleOptions['sources'], directory?: string) {
  const at = directory ?? join(await temporaryDirectory(), 'bundle');
  const downloadLimits = { ...DOWNLOAD_LIMITS, attempts: 1, idleMs: 10_000 };
  return {
    at,
    work: makeBundle({ directory: at, sources, downloadLimits }, new AbortController().signal),
  };
}

describe('a bundle', () => {
  it('holds archives, an index in the order in which they overlay each other, sums and recipes', async () => {
    const files = [await archiveFile(GO), await archiveFile(STATIC)];
    const { at, work } = await bundleOf(files.map((file) => ({ file })));
    const { archives } = await work;
    expect(archives).toMatchObject([
      { file: STATIC, component: 'kata-static', arch: 'amd64' },
      { file: GO, component: 'kata-go-static', arch: 'arm64' },
    ]);
    expect((await readdir(at)).sort()).toEqual(
      ['Dockerfile', 'SHA256SUMS', 'index.json', GO, 'node.Dockerfile', STATIC].sort(),
    );
    expect(JSON.parse(await readFile(join(at, 'index.json'), 'utf8'))).toEqual({ archives });
    const sums = (await readFile(join(at, 'SHA256SUMS'), 'utf8')).trimEnd().split('\n');
    for (const line of sums) {
      const [digest, name = ''] = line.split('  ');
      expect(digest).toBe(sha256(await readFile(join(at, name))));
    }
    expect(sums).toHaveLength(2);
  });

  it('goes on with a download that broke off', async () => {
    const bytes = await readFile(await archiveFile(STATIC));
    let isBroken = true;
    let at = '';
    const whole = fileServer(bytes);
    const { url, asked } = await serve((request, response) => {
      if (!isBroken) {
        whole(request, response);
        return;
      }
      response.writeHead(200, { etag: '"v1"', 'content-length': bytes.length });
      response.write(bytes.subarray(0, 100));
      void whenWritten(
        () => join(`${at}.partial`, `${STATIC}.partial`),
        100,
        () => response.destroy(),
      );
    });
    const source = { url: `${url}/${STATIC}`, sha256: sha256(bytes) };
    const bundle = await bundleOf([source]);
    at = bundle.at;
    const { work } = bundle;
    await expect(work).rejects.toMatchObject({ code: 'KATA_E_ARTIFACT_FETCH' });
    await expect(readdir(at)).rejects.toThrow('ENOENT');
    isBroken = false;
    await (
      await bundleOf([source], at)
    ).work;
    expect(asked.map(({ range }) => range)).toEqual([undefined, 'bytes=100-']);
    expect(sha256(await readFile(join(at, STATIC)))).toBe(source.sha256);
  });

  it.each([
    ['whose name says no architecture', 'kata.tar.zst', undefined, 'KATA_E_ARTIFACT_FORMAT'],
    ['that is none', STATIC, Buffer.from('hello'), 'KATA_E_ARTIFACT_FORMAT'],
    ['that is cut off', STATIC, 'cut', 'KATA_E_ARTIFACT_FORMAT'],
    ['that no node would unpack', STATIC, 'hostile', 'KATA_E_ARTIFACT_HOSTILE'],
  ])('is not made of an archive %s', async (_, name, content, code) => {
    const good = zst(await tar(treeEntries(kataTree())));
    const hostile = zst(await tar([{ name: 'opt/kata/../../etc/passwd', content: 'x' }]));
    const bytes =
      content === 'cut' ? good.subarray(0, -50) : content === 'hostile' ? hostile : content;
    const { at, work } = await bundleOf([
      { file: await archiveFile(name, bytes as Buffer | undefined) },
    ]);
    await expect(work).rejects.toMatchObject({ code });
    await expect(readdir(at)).rejects.toThrow('ENOENT');
  });

  it('is not made of two archives of one name, of none, nor in a directory with something in it', async () => {
    const file = await archiveFile(STATIC);
    await expect((await bundleOf([{ file }, { file }])).work).rejects.toMatchObject({
      code: 'KATA_E_BUNDLE',
    });
    await expect((await bundleOf([{ file: '/nowhere/x.tar.zst' }])).work).rejects.toMatchObject({
      code: 'KATA_E_ARTIFACT_NOT_FOUND',
    });
    const full = await temporaryDirectory();
    await mkdir(join(full, 'something'));
    await expect((await bundleOf([{ file }], full)).work).rejects.toThrow('it is not empty');
    expect(basename(file)).toBe(STATIC);
  });
});
