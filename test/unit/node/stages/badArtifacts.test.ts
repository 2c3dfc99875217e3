import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { NodePlan } from '../../../../src/crds/nodePlan.ts';
import type { Host } from '../../../../src/node/host/host.ts';
import { activate } from '../../../../src/node/stages/activate.ts';
import { preflight } from '../../../../src/node/stages/preflight.ts';
import { stage } from '../../../../src/node/stages/stage.ts';
import {
  kataTree,
  sha256,
  tar,
  treeEntries,
  writeTree,
  zst,
  type TreeFile,
} from '../fixtures/archives.ts';
import {
  ENGINE_CONFIG,
  FC,
  ORIGINAL_CONFIG,
  QEMU,
  bundle,
  contextOf,
  planOf,
  snapshot,
  temporaryHost,
} from '../fixtures/host.ts';

/** Nothing but our own empty directories and state: no version, no download, no change of the engine. */
async function expectUntouched(host: Host): Promise<void> {
  const left = Object.keys(await snapshot(host.at('/opt')));
  expect(
    left.filter(
      (path) =>
        ![
          'kata',
          'kata/revisions',
          'kata/state',
          'kata/state/state.json',
          'kata/versions',
        ].includes(path),
    ),
  ).toEqual([]);
  expect(await readFile(host.at(ENGINE_CONFIG), 'utf8')).toBe(ORIGINAL_CONFIG);
}

function without(...paths: string[]): Record<string, TreeFile> {
  return Object.fromEntries(Object.entries(kataTree()).filter(([path]) => !paths.includes(path)));
}

async function serve(files: Record<string, Buffer>): Promise<string> {
  const server = createServer((request, response) => {
    const content = files[request.url ?? ''];
    if (content === undefined) response.writeHead(404).end();
    else response.end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('artifacts that cannot be used', () => {
  const cases: readonly [string, Record<string, TreeFile>, Partial<NodePlan>, string, string][] = [
    [
      'binaries of another architecture',
      kataTree('arm64'),
      {},
      'KATA_E_ARCHITECTURE',
      'bin/containerd-shim-kata-v2 is a arm64 binary, but this node is amd64',
    ],
    [
      'a hypervisor of another architecture',
      { ...kataTree(), 'bin/firecracker': kataTree('arm64')['bin/firecracker'] ?? {} },
      {},
      'KATA_E_ARCHITECTURE',
      'bin/firecracker',
    ],
    [
      'a shim that is no program',
      { ...kataTree(), 'bin/containerd-shim-kata-v2': { content: 'hello' } },
      {},
      'KATA_E_ARCHITECTURE',
      'not executable',
    ],
    [
      'a missing shim of a runtime that was asked for',
      without('bin/containerd-shim-kata-v2'),
      {},
      'KATA_E_ARTIFACT_INCOMPLETE',
      'bin/containerd-shim-kata-v2, which handler kata-fc needs',
    ],
    [
      'a missing kernel of a runtime that was asked for',
      without('share/kata-containers/vmlinux-6.18'),
      {},
      'KATA_E_ARTIFACT_INCOMPLETE',
      'vmlinux.container',
    ],
    [
      'a configuration that does not parse',
      { ...kataTree(), [FC.configurationPath]: { content: 'path = \n' } },
      {},
      'KATA_E_KATA_CONFIG',
      'configuration-fc.toml',
    ],
    [
      'another version than the one that was asked for',
      kataTree('amd64', '3.9.0'),
      { version: '4.1.0' },
      'KATA_E_VERSION_MISMATCH',
      'spec.version is 4.1.0, but the artifacts say 3.9.0',
    ],
    [
      'no VERSION where one was asked for',
      without('VERSION'),
      { version: '4.1.0' },
      'KATA_E_VERSION_MISMATCH',
      'unknown',
    ],
  ];
  it.each(cases)(
    'with %s: refused with a clear message, the host untouched',
    async (_, tree, change, code, message) => {
      const host = await temporaryHost();
      const result = await stage(
        contextOf(host, { plan: planOf(change), bundleDirectory: await bundle(tree) }),
      );
      expect(result).toMatchObject({ outcome: 'refused', error: { code } });
      expect(result.error?.message).toContain(message);
      await expectUntouched(host);
    },
  );

  it('whose bytes differ from the index of the image are refused before they get a name', async () => {
    const host = await temporaryHost();
    const directory = await bundle();
    await writeFile(
      join(directory, 'kata-static.tar.zst'),
      zst(await tar(treeEntries(kataTree('amd64', '6.6.6')))),
    );
    const result = await stage(contextOf(host, { bundleDirectory: directory }));
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ARTIFACT_DIGEST', step: 'Artifacts' },
    });
    await expectUntouched(host);
  });

  it('that unpack to far more than their size are refused', async () => {
    const host = await temporaryHost();
    const directory = await bundle();
    // Its first header promises four gigabytes, which zeros would keep in a few hundred kilobytes.
    const bomb = await tar([{ name: 'share/zeros', content: '' }]);
    bomb.write('40000000000', 124);
    bomb.fill(' ', 148, 156);
    const sum = bomb.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    bomb.write(`${sum.toString(8).padStart(6, '0')}\0`, 148);
    await writeFile(join(directory, 'kata-static.tar.zst'), zst(bomb));
    expect(await stage(contextOf(host, { bundleDirectory: directory }))).toMatchObject({
      outcome: 'refused',
      error: {
        code: 'KATA_E_ARTIFACT_HOSTILE',
        message: expect.stringContaining('there are more than 10') as string,
      },
    });
    await expectUntouched(host);
  });

  it('that do not fit are refused with figures before a byte is written', async () => {
    const host = await temporaryHost();
    const directory = await bundle();
    const index = await readFile(join(directory, 'index.json'), 'utf8');
    await writeFile(
      join(directory, 'index.json'),
      index.replace(/"unpackedBytes":\d+/, '"unpackedBytes":900000000000000'),
    );
    const result = await stage(contextOf(host, { bundleDirectory: directory }));
    expect(result).toMatchObject({
      outcome: 'refused',
      error: {
        code: 'KATA_E_DISK_SPACE',
        message: expect.stringContaining('945000000000000 are needed') as string,
      },
    });
    await expectUntouched(host);
  });
});

describe('archives', () => {
  it('that another version has brought need no room again, which preflight knows too', async () => {
    const host = await temporaryHost();
    const directory = await bundle();
    expect(await stage(contextOf(host, { bundleDirectory: directory }))).toMatchObject({
      outcome: 'done',
    });
    const file = join(directory, 'index.json');
    const index = await readFile(file, 'utf8');
    await writeFile(file, index.replace(/"unpackedBytes":\d+/, '"unpackedBytes":900000000000000'));
    const next = contextOf(host, {
      bundleDirectory: directory,
      plan: planOf({ revision: '0123456789' }),
    });
    expect((await preflight(next)).outcome).toBe('done');
  });
});

describe('default runtimes', () => {
  it('that the artifacts do not hold are left out and named', async () => {
    const host = await temporaryHost();
    const result = await stage(
      contextOf(host, {
        bundleDirectory: await bundle(
          without(QEMU.configurationPath, 'share/defaults/kata-containers/configuration.toml'),
        ),
      }),
    );
    expect(result).toMatchObject({ outcome: 'done', skippedHandlers: ['kata-qemu'] });
  });

  it('need at least one that can be installed', async () => {
    const host = await temporaryHost();
    const plan = planOf({ runtimes: [QEMU, { ...FC, required: false }] });
    const result = await stage(
      contextOf(host, { plan, bundleDirectory: await bundle({ VERSION: { content: '4.1.0\n' } }) }),
    );
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ARTIFACT_INCOMPLETE' },
    });
  });
});

describe('archives from URLs', () => {
  async function archives() {
    const whole = kataTree();
    const go = zst(
      await tar(
        treeEntries({
          'bin/containerd-shim-kata-v2': whole['bin/containerd-shim-kata-v2'] ?? {},
          'bin/firecracker': whole['bin/firecracker'] ?? {},
        }),
      ),
    );
    const rest = zst(
      await tar(treeEntries(without('bin/containerd-shim-kata-v2', 'bin/firecracker'))),
    );
    const url = await serve({
      '/go.tar.zst': go,
      '/static.tar.zst': rest,
      '/page': Buffer.from('<html>'),
    });
    return { url, go, rest };
  }
  const sources = (...list: [string, Buffer | string, string?][]): Partial<NodePlan> => ({
    artifacts: {
      kind: 'sources',
      sources: list.map(([url, content, arch]) => ({
        url,
        sha256: typeof content === 'string' ? content : sha256(content),
        ...(arch === undefined ? {} : { arch }),
      })),
    },
  });

  it('overlay each other in one version, and leave no download behind', async () => {
    const host = await temporaryHost();
    const { url, go, rest } = await archives();
    const plan = planOf(
      sources(
        [`${url}/static.tar.zst`, rest],
        [`${url}/go.tar.zst`, go, 'amd64'],
        [`${url}/none`, 'a'.repeat(64), 'arm64'],
      ),
    );
    const context = contextOf(host, { plan });
    expect(await stage(context)).toMatchObject({
      outcome: 'done',
      facts: { artifacts: { version: '4.1.0' } },
    });
    expect((await activate(context)).result).toMatchObject({
      outcome: 'done',
      handlers: ['kata-fc', 'kata-qemu'],
    });
    expect(Object.keys(await snapshot(host.at('/opt/kata/state')))).toEqual(['state.json']);
  });

  it('are not fetched again when their version is there', async () => {
    const host = await temporaryHost();
    const { url, go, rest } = await archives();
    const list = sources([`${url}/static.tar.zst`, rest], [`${url}/go.tar.zst`, go]);
    const first = await stage(contextOf(host, { plan: planOf(list) }));
    const moved = sources(
      ['http://127.0.0.1:1/static.tar.zst', rest],
      ['http://127.0.0.1:1/go.tar.zst', go],
    );
    const second = await stage(contextOf(host, { plan: planOf({ ...moved, revision: 'r2' }) }));
    expect(second).toMatchObject({
      outcome: 'done',
      bytesWritten: 0,
      facts: { artifacts: first.facts.artifacts ?? {} },
    });
  });

  it.each([
    ['another sha256', '/static.tar.zst', 'b'.repeat(64), 'KATA_E_ARTIFACT_DIGEST'],
    ['a missing file', '/nothing.tar.zst', 'b'.repeat(64), 'KATA_E_ARTIFACT_FETCH'],
    ['a page that is no archive', '/page', sha256('<html>'), 'KATA_E_ARTIFACT_FORMAT'],
  ])('with %s are refused, the host untouched', async (_, path, digest, code) => {
    const host = await temporaryHost();
    const { url } = await archives();
    const result = await stage(contextOf(host, { plan: planOf(sources([url + path, digest])) }));
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code, message: expect.stringContaining(url) as string },
    });
    await expectUntouched(host);
  });
});

describe('a tree on the host', () => {
  it('that holds a socket, a device or a setuid program is refused like an archive', async () => {
    const host = await temporaryHost();
    await writeTree(host.at('/srv/kata'), {
      ...kataTree(),
      'bin/su': { content: 'x', mode: 0o4755 },
    });
    await chmod(host.at('/srv/kata/bin/su'), 0o4755);
    const result = await stage(
      contextOf(host, { plan: planOf({ artifacts: { kind: 'hostPath', path: '/srv/kata' } }) }),
    );
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ARTIFACT_HOSTILE' },
    });
    await expectUntouched(host);
  });

  it('becomes another version when one byte or one mode changes', async () => {
    const host = await temporaryHost();
    const plan = planOf({ artifacts: { kind: 'hostPath', path: '/srv/kata' } });
    await writeTree(host.at('/srv/kata'), kataTree());
    const first = await stage(contextOf(host, { plan }));
    await writeFile(host.at('/srv/kata/share/kata-containers/vmlinux-6.18'), 'kernal');
    const second = await stage(contextOf(host, { plan }));
    expect([first.outcome, second.outcome]).toEqual(['done', 'done']);
    expect(second.facts.artifacts?.digest).not.toBe(first.facts.artifacts?.digest);
  });
});

describe('what an interrupted run left', () => {
  it('is removed by the next, and never taken for a version', async () => {
    const host = await temporaryHost();
    const context = contextOf(host, { bundleDirectory: await bundle() });
    const digest = (await stage(context)).facts.artifacts?.digest ?? '';
    await rename(
      host.at(`/opt/kata/versions/${digest}`),
      host.at(`/opt/kata/versions/${digest}.partial`),
    );
    await rm(host.at(`/opt/kata/versions/${digest}.partial/bin`), { recursive: true });
    await mkdir(host.at('/opt/kata/versions/0000.partial/bin'), { recursive: true });
    expect(await stage(context)).toMatchObject({
      outcome: 'done',
      facts: { artifacts: { digest } },
    });
    expect(
      Object.keys(await snapshot(host.at('/opt/kata/versions'))).filter((path) =>
        path.includes('.partial'),
      ),
    ).toEqual([]);
    expect(await readFile(host.at(`/opt/kata/versions/${digest}/bin/firecracker`))).toBeDefined();
  });

  it('is gone when the run is stopped in the middle of a download', async () => {
    const host = await temporaryHost();
    const stop = new AbortController();
    const server = createServer((_, response) => {
      response.writeHead(200, { 'content-length': 1_000_000 });
      response.write(Buffer.alloc(1000), () => {
        stop.abort();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/kata.tar.zst`;
    const plan = planOf({
      artifacts: { kind: 'sources', sources: [{ url, sha256: 'a'.repeat(64) }] },
    });
    const result = await stage(contextOf(host, { plan, signal: stop.signal }));
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_INTERRUPTED', step: 'Download' },
    });
    await expectUntouched(host);
  });
});
