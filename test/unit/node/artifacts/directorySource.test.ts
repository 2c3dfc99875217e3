/** Directories as sources: of the host, and of an image that is mounted. */
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { PlanArtifacts } from '../../../../src/crds/nodePlan.ts';
import type { Engine } from '../../../../src/node/engine/index.ts';
import { makeBundle } from '../../../../src/node/artifacts/bundle.ts';
import { listVersions } from '../../../../src/node/artifacts/version.ts';
import { preflight } from '../../../../src/node/stages/preflight.ts';
import { stage } from '../../../../src/node/stages/stage.ts';
import { kataTree, sha256, tar, treeEntries, writeTree, zst } from '../fixtures/archives.ts';
import {
  FileEngine,
  contextOf,
  planOf,
  temporaryDirectory,
  temporaryHost,
} from '../fixtures/host.ts';
import { fileServer, serve } from '../fixtures/serve.ts';

const REFERENCE = `registry.example.org/kata@sha256:${'a'.repeat(64)}`;
const IMAGE: PlanArtifacts = { kind: 'image', reference: REFERENCE };
const NAME = 'kata-static-4.1.0-amd64.tar.zst';

async function archive(version = '4.1.0'): Promise<string> {
  const file = join(await temporaryDirectory(), NAME);
  await writeFile(file, zst(await tar(treeEntries(kataTree('amd64', version)))));
  return file;
}

async function makeBundleOf(file: string): Promise<string> {
  const directory = join(await temporaryDirectory(), 'bundle');
  await makeBundle({ directory, sources: [{ file }] }, new AbortController().signal);
  return directory;
}

describe('an image volume', () => {
  async function stageFrom(imageDirectory: string) {
    const host = await temporaryHost();
    const plan = planOf({ artifacts: IMAGE });
    const result = await stage(contextOf(host, { plan, imageDirectory }));
    return { result, versions: await listVersions(host) };
  }

  it.each([
    [
      'a tree',
      async (at: string) => {
        await writeTree(at, kataTree());
      },
    ],
    [
      'a tree below opt/kata',
      async (at: string) => {
        await writeTree(join(at, 'opt/kata'), kataTree());
      },
    ],
    [
      'archives',
      async (at: string) => {
        await writeFile(join(at, NAME), await readFile(await archive()));
      },
    ],
  ])('with %s becomes a version', async (_, fill) => {
    const image = await temporaryDirectory();
    await fill(image);
    const { result, versions } = await stageFrom(image);
    expect(result).toMatchObject({ outcome: 'done', facts: { artifacts: { version: '4.1.0' } } });
    expect(versions).toHaveLength(1);
  });

  it('with a bundle becomes the version that the archives become by URL', async () => {
    const file = await archive();
    const { result } = await stageFrom(await makeBundleOf(file));
    const bytes = await readFile(file);
    const { url } = await serve(fileServer(bytes));
    const artifacts: PlanArtifacts = { kind: 'sources', sources: [{ url, sha256: sha256(bytes) }] };
    const byUrl = await stage(contextOf(await temporaryHost(), { plan: planOf({ artifacts }) }));
    expect(result).toMatchObject({ outcome: 'done' });
    expect(result.facts.artifacts).toEqual(byUrl.facts.artifacts);
  });

  it('that is mounted empty says that the node cannot mount it', async () => {
    const { result, versions } = await stageFrom(await temporaryDirectory());
    expect(result).toMatchObject({
      outcome: 'unsupported',
      error: { code: 'KATA_E_IMAGE_VOLUME', reason: 'ImageVolumeUnsupported' },
    });
    expect(result.error?.message).toContain(REFERENCE);
    expect(versions).toEqual([]);
  });

  it('without artifacts says so', async () => {
    const image = await temporaryDirectory();
    await writeFile(join(image, 'README'), 'hello');
    const { result } = await stageFrom(image);
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ARTIFACT_NOT_FOUND' },
    });
  });

  it('whose tree is a link to somewhere else is refused', async () => {
    const elsewhere = await temporaryDirectory();
    await writeTree(elsewhere, kataTree());
    const image = await temporaryDirectory();
    await mkdir(join(image, 'opt'));
    await symlink(elsewhere, join(image, 'opt/kata'));
    const { result } = await stageFrom(image);
    expect(result).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ARTIFACT_HOSTILE' },
    });
  });

  it.each([
    ['containerd', '2.0.5', 'unsupported'],
    ['containerd', '1.7.24', 'unsupported'],
    ['containerd', '2.1.0', 'done'],
    ['crio', '1.30.9', 'unsupported'],
    ['crio', '1.31.0', 'done'],
  ] as const)(
    'with %s %s is found %s before kubelet has to mount it',
    async (name, version, outcome) => {
      const host = await temporaryHost();
      const engine = new FileEngine();
      const found: Engine = { ...engine.describe(host), name, version };
      const port = { ...engine.port, discoverEngine: () => Promise.resolve(found) };
      const result = await preflight(
        contextOf(host, { plan: planOf({ artifacts: IMAGE }), engine: port }),
      );
      expect(result.outcome).toBe(outcome);
      if (outcome === 'unsupported') expect(result.error?.message).toContain(version);
      expect(result.facts.engine).toMatchObject({ name, version });
    },
  );
});

describe('a directory of the host', () => {
  const stageFrom = async (directory: string) => {
    const host = await temporaryHost();
    await symlink(directory, host.at('/srv'));
    const plan = planOf({ artifacts: { kind: 'hostPath', path: '/srv' } });
    return stage(contextOf(host, { plan }));
  };

  it('that is a bundle is used without hashing its archives first', async () => {
    expect(await stageFrom(await makeBundleOf(await archive()))).toMatchObject({ outcome: 'done' });
  });

  it('that is a bundle with another archive than its index says is refused', async () => {
    const directory = await makeBundleOf(await archive());
    await writeFile(join(directory, NAME), await readFile(await archive('4.2.0')));
    expect(await stageFrom(directory)).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ARTIFACT_DIGEST' },
    });
  });
});
