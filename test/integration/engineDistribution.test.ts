import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENGINE_RELEASES } from '../../e2e/cluster/engines.ts';
import type { DistributionName } from '../../src/node/engine/distributions/presets.ts';
import {
  type Engine,
  type EngineRestarter,
  installSteps,
  type RemoveOptions,
  removeSteps,
  servedHandlers,
} from '../../src/node/engine/index.ts';
import {
  failureOf,
  host,
  KATA,
  MemoryStore,
  run,
  sha256,
  signal,
  useRelease,
} from './support/engineRelease.ts';

// The distributions themselves are not run: a real containerd is, with a restart that writes its file from the
// template, as their documentation describes it.
describe.for(ENGINE_RELEASES)('containerd %s of a distribution', (release) => {
  const its = useRelease(release);
  const etc = (): string => dirname(its.instance.configPath);
  const served = (): Promise<string[]> => servedHandlers(host, its.engine(), signal());

  const k3sTemplate = (): string =>
    join(etc(), release.startsWith('1') ? 'config.toml.tmpl' : 'config-v3.toml.tmpl');
  const microk8sTemplate = (): string => join(etc(), 'containerd-template.toml');

  /** Go's template package, as far as it is used here: comments, and the base that the distribution brings. */
  async function renderK3s(): Promise<void> {
    const template = await readFile(k3sTemplate(), 'utf8').catch(() => '{{ template "base" . }}');
    const base = its.admin.text(its.instance);
    await its.instance.write(
      template.replaceAll(/\{\{\/\*.*?\*\/\}\}/g, '').replace('{{ template "base" . }}', base),
    );
  }
  async function renderMicrok8s(): Promise<void> {
    const template = await readFile(microk8sTemplate(), 'utf8');
    await its.instance.write(template.replace('${REGISTRY}', 'registry.example'));
  }

  function options(
    distribution: DistributionName,
    render: () => Promise<void>,
    record: MemoryStore,
  ): RemoveOptions {
    const engine: Engine = { ...its.engine(), distribution };
    const restarter: EngineRestarter = {
      unit: its.instance.unit,
      restart: async () => {
        await render();
        await its.instance.restart();
      },
    };
    return { ...its.options(record), engine, restarter };
  }

  async function started(render: () => Promise<void>): Promise<MemoryStore> {
    await render();
    await its.instance.start();
    return new MemoryStore();
  }

  test('k3s gets a template with its base in it, and none is left', async () => {
    await its.create();
    const store = await started(renderK3s);
    const original = await sha256(its.instance.configPath);
    const k3s = options('k3s', renderK3s, store);
    await run(installSteps({ ...k3s, registrations: KATA }));
    expect(await readFile(k3sTemplate(), 'utf8')).toContain('{{ template "base" . }}\n');
    expect(await served()).toEqual(['crun', 'kata-fc', 'kata-qemu', 'runc']);
    expect(its.instance.restarts).toBe(1);
    expect(await run(installSteps({ ...k3s, registrations: KATA }))).toEqual([]);
    await run(installSteps({ ...k3s, registrations: KATA.slice(0, 1) }));
    expect(await served()).toEqual(['crun', 'kata-fc', 'runc']);
    await run(removeSteps(k3s));
    expect(await sha256(its.instance.configPath)).toBe(original);
    expect(await readdir(etc())).toEqual(['config.toml']);
    expect(await served()).toEqual(['crun', 'runc']);
  });

  test("an administrator's template keeps every byte, and a failed restart brings it back", async () => {
    await its.create();
    const theirs = '# ours\n{{ template "base" . }}\n\n[debug]\n  level = "info"';
    await writeFile(k3sTemplate(), theirs);
    const store = await started(renderK3s);
    const k3s = options('rke2', renderK3s, store);
    its.instance.failingRestarts = 1;
    await failureOf(run(installSteps({ ...k3s, registrations: KATA })));
    expect(await readFile(k3sTemplate(), 'utf8')).toBe(theirs);
    expect(await served()).toEqual(['crun', 'runc']);
    await run(installSteps({ ...k3s, registrations: KATA }));
    expect((await readFile(k3sTemplate(), 'utf8')).startsWith(theirs)).toBe(true);
    expect(await served()).toContain('kata-qemu');
    await run(removeSteps(k3s));
    expect(await readFile(k3sTemplate(), 'utf8')).toBe(theirs);
  });

  test('MicroK8s has its template extended, and one that is missing is not made up', async () => {
    await its.create();
    const template = its.admin.text(its.instance).replace('registry.example', '${REGISTRY}');
    await writeFile(microk8sTemplate(), template);
    const store = await started(renderMicrok8s);
    const microk8s = options('microk8s', renderMicrok8s, store);
    await run(installSteps({ ...microk8s, registrations: KATA }));
    expect((await readFile(microk8sTemplate(), 'utf8')).startsWith(template)).toBe(true);
    expect(await served()).toContain('kata-fc');
    await run(removeSteps(microk8s));
    expect(await readFile(microk8sTemplate(), 'utf8')).toBe(template);
    const elsewhere = { ...microk8s.engine, configPath: join(etc(), 'none/containerd.toml') };
    const error = await failureOf(
      run(installSteps({ ...microk8s, engine: elsewhere, registrations: KATA })),
    );
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_CONFIG_CONFLICT' });
  });

  // containerd 1.x cannot do it, and is not asked to.
  if (release.startsWith('2'))
    test('a directory that k3s imports is made for our file, and goes with it', async () => {
      await its.create();
      const render = async (): Promise<void> => {
        await its.instance.write(`imports = ["more.d/*.toml"]\n${its.admin.text(its.instance)}`);
      };
      const store = await started(render);
      const k3s = options('k3s', render, store);
      await run(installSteps({ ...k3s, registrations: KATA }));
      expect(await readdir(join(etc(), 'more.d'))).toEqual(['kata-operator-kata.toml']);
      expect(await served()).toContain('kata-fc');
      await run(removeSteps(k3s));
      expect(await readdir(etc())).toEqual(['config.toml']);
      await mkdir(join(etc(), 'more.d'));
    });
});
