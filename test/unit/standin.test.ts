/** The stand-in archives must be laid out as Kata's own are, and be the same bytes every time. */
import { execFileSync } from 'node:child_process';
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createZstdDecompress } from 'node:zlib';
import { parse } from 'smol-toml';
import { extract, type Header } from 'tar-stream';
import { afterAll, expect, test } from 'vitest';
import { writeArchive } from '../../e2e/standin/archive.ts';
import { claimMachine, stubExecutable } from '../../e2e/standin/elf.ts';
import { archiveTree, type TreeOptions } from '../../e2e/standin/tree.ts';

const directory = mkdtempSync(join(tmpdir(), 'standin-'));
afterAll(() => {
  rmSync(directory, { recursive: true });
});

const shim = join(directory, 'shim');
writeFileSync(shim, stubExecutable('x86_64'));
const OPTIONS: TreeOptions = {
  archive: 'kata-go-static',
  shared: true,
  fullSize: false,
  shim,
  runsc: undefined,
  machine: 'x86_64',
};

async function packed(name: string, options: TreeOptions) {
  const { prefix, entries } = await archiveTree(options);
  const file = join(directory, name);
  return { file, written: await writeArchive(file, prefix, entries) };
}

async function contents(file: string): Promise<Map<string, { header: Header; body: Buffer }>> {
  const found = new Map<string, { header: Header; body: Buffer }>();
  const source = createReadStream(file).pipe(createZstdDecompress());
  const tar = extract();
  source.pipe(tar);
  for await (const entry of tar) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    found.set(entry.header.name, { header: entry.header, body: Buffer.concat(chunks) });
  }
  return found;
}

test('the two archives together hold every file of the layout, with its mode or target', async () => {
  const rust = await packed('rust.tar.zst', { ...OPTIONS, archive: 'kata-static' });
  const go = await packed('go.tar.zst', OPTIONS);
  const found = new Map([...(await contents(rust.file)), ...(await contents(go.file))]);
  const layout = JSON.parse(
    readFileSync(new URL('../../e2e/standin/layout.json', import.meta.url), 'utf8'),
  ) as { prefix: string; arches: Record<string, Record<string, Record<string, string>>> };
  for (const files of Object.values(layout.arches['x86_64'] ?? {})) {
    for (const [path, kind] of Object.entries(files)) {
      const header = found.get(layout.prefix + path)?.header;
      const seen =
        header?.type === 'symlink'
          ? `-> ${header.linkname}`
          : header?.mode.toString(8).padStart(4, '0');
      expect(`${path} ${String(seen)}`).toBe(`${path} ${kind}`);
    }
  }
});

test('the Go archive holds all that a Firecracker sandbox refers to', async () => {
  const found = await contents((await packed('fc.tar.zst', OPTIONS)).file);
  const prefix = './opt/kata/share/defaults/kata-containers';
  const text = found.get(`${prefix}/configuration-fc.toml`)?.body.toString() ?? '';
  const { hypervisor } = parse(text) as { hypervisor: { firecracker: Record<string, unknown> } };
  for (const key of ['path', 'jailer_path', 'kernel', 'image']) {
    expect([...found.keys()]).toContain(`.${String(hypervisor.firecracker[key])}`);
  }
});

test('packing the same tree twice gives the same bytes', async () => {
  const first = await packed('first.tar.zst', { ...OPTIONS, machine: 'aarch64' });
  const second = await packed('second.tar.zst', { ...OPTIONS, machine: 'aarch64' });
  expect(second.written).toEqual(first.written);
});

test('the full tree is as large as an installed release', async () => {
  const trees = await Promise.all([
    archiveTree({ ...OPTIONS, archive: 'kata-static', fullSize: true }),
    archiveTree({ ...OPTIONS, fullSize: true, shared: false }),
  ]);
  const sizes = trees.flatMap(({ entries }) =>
    entries.map((entry) => ('content' in entry ? entry.content.sizeBytes : 0)),
  );
  // The two shims and runsc, some 143 MB, come on top.
  const total = sizes.reduce((sum, size) => sum + size, 0);
  expect(total / 1e6).toBeGreaterThan(930);
  expect(total / 1e6).toBeLessThan(945);
});

test.runIf(process.arch === 'x64')('a stub says what it is and ends with success', () => {
  const file = join(directory, 'stub');
  writeFileSync(file, stubExecutable('x86_64'), { mode: 0o755 });
  expect(execFileSync(file).toString()).toBe('stand-in\n');
});

test('an executable can claim to be for another machine, in nothing but its header', () => {
  const executable = stubExecutable('x86_64');
  const claimed = claimMachine(executable, 'aarch64');
  const different = [...executable.keys()].filter((index) => executable[index] !== claimed[index]);
  expect(different).toEqual([18]);
  expect(claimed.readUInt16LE(18)).toBe(183);
});
