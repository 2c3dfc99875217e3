/**
 * What all hosts of the crash benchmark share: the bundled program, its helper, the library that interrupts it, and
 * three revisions, each with a Kata of its own.
 */
import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle } from '../../build/bundle.ts';
import { compileHelper } from '../../build/helper.ts';
import type { NodePlan } from '../../src/crds/nodePlan.ts';
import { kataTree, sha256, tar, treeEntries, zst } from '../../test/unit/node/fixtures/archives.ts';
import { compileShim } from './shim.ts';

/** → Kata's version. */
const REVISIONS = { r1: '4.0.0', r2: '4.1.0', r3: '4.2.0' } as const;
export type Revision = keyof typeof REVISIONS;
const NAMES = ['r1', 'r2', 'r3'] as const;

export interface Tools {
  readonly directory: string;
  readonly program: string;
  readonly helper: string;
  readonly shim: string;
  readonly plans: Readonly<Record<Revision, string>>;
  readonly artifacts: Readonly<Record<Revision, string>>;
}

/** A new directory, in memory where there is room for one. */
export async function directoryInMemory(): Promise<string> {
  const inMemory = await access('/dev/shm', constants.W_OK).then(
    () => true,
    () => false,
  );
  return mkdtemp(join(inMemory ? '/dev/shm' : tmpdir(), 'kc-'));
}

/** Compiles and packs what all hosts share. `dispose` removes it. */
export async function prepareTools(): Promise<Tools & { dispose(): Promise<void> }> {
  const directory = await directoryInMemory();
  const at = (name: string): string => join(directory, name);
  const tools: Tools = {
    directory,
    program: at('kata-node.mjs'),
    helper: at('kata-helper'),
    shim: at('shim.so'),
    plans: perRevision((revision) => at(`plan-${revision}.json`)),
    artifacts: perRevision((revision) => at(`artifacts-${revision}`)),
  };
  await bundle(join(import.meta.dirname, '../../src/node/main.ts'), tools.program, {
    sourceMap: false,
  });
  await compileHelper(tools.helper);
  await compileShim(tools.shim);
  for (const revision of NAMES) {
    await writeFile(tools.plans[revision], JSON.stringify(planOf(revision)));
    await packArtifacts(tools.artifacts[revision], REVISIONS[revision]);
  }
  return { ...tools, dispose: () => rm(directory, { recursive: true, force: true }) };
}

function perRevision(path: (revision: Revision) => string): Readonly<Record<Revision, string>> {
  return { r1: path('r1'), r2: path('r2'), r3: path('r3') };
}

function planOf(revision: Revision): NodePlan {
  const common = {
    shimPath: 'bin/containerd-shim-kata-v2',
    architectures: ['amd64', 'arm64', 's390x', 'ppc64le'],
    podAnnotations: ['io.katacontainers.config.hypervisor.default_vcpus'],
    required: true,
  };
  const configuration = 'share/defaults/kata-containers/configuration-';
  const firecracker = {
    ...common,
    handler: 'kata-fc',
    base: 'fc',
    hypervisor: 'firecracker',
    configurationPath: `${configuration}fc.toml`,
  };
  const qemu = {
    ...common,
    handler: 'kata-qemu',
    base: 'qemu',
    hypervisor: 'qemu',
    configurationPath: `${configuration}qemu.toml`,
  };
  return {
    planVersion: 1,
    deployment: 'kata',
    revision,
    artifacts: { kind: 'bundled' },
    requireKVM: false,
    runtimes: revision === 'r1' ? [firecracker] : [firecracker, qemu],
    engine: { type: 'Auto', restart: 'WhenNeeded' },
    ...(revision === 'r1' ? {} : { defaultRuntime: 'kata-qemu' }),
  };
}

async function packArtifacts(directory: string, version: string): Promise<void> {
  await mkdir(directory);
  const arch = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const raw = await tar(treeEntries(kataTree(arch, version)));
  const bytes = zst(raw);
  await writeFile(join(directory, 'kata-static.tar.zst'), bytes);
  const archive = {
    file: 'kata-static.tar.zst',
    sha256: sha256(bytes),
    sizeBytes: bytes.length,
    unpackedBytes: raw.length,
    arch,
    component: 'kata-static',
  };
  await writeFile(join(directory, 'index.json'), JSON.stringify({ archives: [archive] }));
}
