/**
 * Builds what a cluster is made of from its published Go modules, into the cache.
 *
 * Owns the binaries in BIN. The versions are those of e2e/components/<module>/go.mod and nowhere else. It
 * must never replace a binary by a half-written one, nor touch the repository.
 */
import { createHash } from 'node:crypto';
import { access, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findGo, type GoToolchain } from './go.ts';
import { withLock } from './lock.ts';
import { BIN, CACHE, COMPONENTS } from './paths.ts';
import { run } from './process.ts';
import type { Progress } from './progress.ts';

export type ComponentName = 'kubernetes' | 'etcd' | 'containerd' | 'tools';

interface Component {
  readonly name: ComponentName;
  /** File name in BIN → Go package. */
  readonly binaries: Readonly<Record<string, string>>;
  /** Module path → linker flags that stamp its version. */
  readonly stamps: Readonly<Record<string, (version: string) => readonly string[]>>;
}

const CONTAINERD = 'github.com/containerd/containerd/v2';

const COMPONENT_LIST: readonly Component[] = [
  {
    name: 'etcd',
    binaries: { etcd: 'go.etcd.io/etcd/server/v3' },
    stamps: {},
  },
  {
    name: 'containerd',
    binaries: Object.fromEntries(
      ['containerd', 'containerd-shim-runc-v2', 'ctr'].map((n) => [n, `${CONTAINERD}/cmd/${n}`]),
    ),
    stamps: {
      [CONTAINERD]: (version) => [
        `-X ${CONTAINERD}/version.Version=${version}`,
        `-X ${CONTAINERD}/version.Package=${CONTAINERD}`,
      ],
    },
  },
  {
    name: 'tools',
    binaries: {
      helm: 'helm.sh/helm/v3/cmd/helm',
      kubeconform: 'github.com/yannh/kubeconform/cmd/kubeconform',
    },
    stamps: {
      'helm.sh/helm/v3': (v) => [`-X helm.sh/helm/v3/internal/version.version=${v}`],
      'github.com/yannh/kubeconform': (v) => [`-X main.version=${v}`],
    },
  },
  {
    name: 'kubernetes',
    binaries: Object.fromEntries(
      [
        'kube-apiserver',
        'kube-controller-manager',
        'kube-scheduler',
        'kube-proxy',
        'kubelet',
        'kubectl',
      ].map((name) => [name, `k8s.io/kubernetes/cmd/${name}`]),
    ),
    stamps: {
      'k8s.io/kubernetes': (version) => {
        const [major, minor] = version.slice(1).split('.');
        const base = 'k8s.io/component-base/version';
        return [
          `-X ${base}.gitVersion=${version}`,
          `-X ${base}.gitMajor=${major ?? ''}`,
          `-X ${base}.gitMinor=${minor ?? ''}`,
        ];
      },
    },
  },
];

/** Builds the named components (default: all) where their go.mod changed; does nothing otherwise. */
export async function buildComponents(
  progress: Progress,
  names: readonly ComponentName[] = COMPONENT_LIST.map((component) => component.name),
  signal?: AbortSignal,
): Promise<void> {
  for (const component of COMPONENT_LIST.filter(({ name }) => names.includes(name))) {
    if (await isFresh(component)) continue;
    await withLock(join(CACHE, `build-${component.name}.lock`), async () => {
      if (await isFresh(component)) return; // another process built it meanwhile
      const go = await findGo();
      await progress.step(`build ${Object.keys(component.binaries).join(', ')}`, () =>
        build(component, go, signal),
      );
    });
  }
}

/** The key of a component: it changes when its binaries would. */
export async function componentKey(name: ComponentName): Promise<string> {
  const component = COMPONENT_LIST.find((candidate) => candidate.name === name);
  if (component === undefined) throw new Error(`no component ${name}`);
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum']) {
    hash.update(await readFile(join(COMPONENTS, name, file)));
  }
  hash.update(JSON.stringify([component.binaries, await linkerFlags(component)]));
  return hash.digest('hex');
}

/** The version that go.mod requires of a module, as `v1.36.3`. */
export async function moduleVersion(name: ComponentName, module: string): Promise<string> {
  const goMod = await readFile(join(COMPONENTS, name, 'go.mod'), 'utf8');
  const line = goMod.split('\n').find((text) => text.trim().startsWith(`${module} v`));
  const version = /\s(v\d\S*)/.exec(line ?? '')?.[1];
  if (version === undefined) throw new Error(`e2e/components/${name}/go.mod: no ${module}`);
  return version;
}

const keyFile = (component: Component): string => join(BIN, `.${component.name}.key`);

async function isFresh(component: Component): Promise<boolean> {
  try {
    for (const binary of Object.keys(component.binaries)) await access(join(BIN, binary));
    const built = await readFile(keyFile(component), 'utf8');
    return built === (await componentKey(component.name));
  } catch {
    return false;
  }
}

async function linkerFlags(component: Component): Promise<string> {
  const flags = ['-s', '-w'];
  for (const [module, stamp] of Object.entries(component.stamps)) {
    flags.push(...stamp(await moduleVersion(component.name, module)));
  }
  return flags.join(' ');
}

async function build(component: Component, go: GoToolchain, signal?: AbortSignal): Promise<void> {
  const partial = join(CACHE, `bin.partial-${component.name}`);
  const cwd = join(COMPONENTS, component.name);
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  await mkdir(BIN, { recursive: true });
  const ldflags = await linkerFlags(component);
  for (const [name, goPackage] of Object.entries(component.binaries)) {
    const target = join(partial, name);
    await retryOnce(() =>
      run([go.path, 'build', '-trimpath', '-ldflags', ldflags, '-o', target, goPackage], {
        cwd,
        env: go.env,
        nice: true,
        timeoutMs: 30 * 60_000,
        signal,
      }),
    );
    await rename(target, join(BIN, name));
  }
  await writeFile(keyFile(component), await componentKey(component.name));
  await rm(partial, { recursive: true, force: true });
}

/** A module proxy may fail for a moment in the middle of hundreds of downloads. */
async function retryOnce(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch {
    await work();
  }
}
