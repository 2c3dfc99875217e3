import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENGINE_RELEASES } from '../../e2e/cluster/engines.ts';
import { checkEngineConfig } from '../../src/node/engine/index.ts';
import type { Place } from './support/engineFixtures.ts';
import {
  effective,
  failureOf,
  host,
  MemoryStore,
  registration,
  sha256,
  signal,
  useRelease,
} from './support/engineRelease.ts';

describe.for(ENGINE_RELEASES.filter((release) => release.startsWith('2')))(
  'containerd %s that imports a directory',
  (release) => {
    const its = useRelease(release);
    const directory = (): string => join(dirname(its.instance.configPath), 'more.d');
    const ours = (): string => join(directory(), 'kata-operator-kata.toml');
    const theirs = (): string => join(directory(), '50-theirs.toml');
    const importing =
      (admin: (place: Place) => string) =>
      (place: Place): string =>
        `imports = ["more.d/*.toml"]\n${admin(place)}`;

    async function running(admin = its.admin.text): Promise<MemoryStore> {
      await its.create();
      await its.instance.write(importing(admin)(its.instance));
      await mkdir(directory());
      await writeFile(
        theirs(),
        `version = 3\n[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.theirs]\nruntime_type = "io.containerd.runc.v2"\n`,
      );
      await its.instance.start();
      return new MemoryStore();
    }

    test('gets a file of ours there, the main file stays as it is, and removal leaves nothing', async () => {
      const store = await running();
      const main = await sha256(its.instance.configPath);
      const before = await effective(its.engine());
      await checkEngineConfig(host, its.engine(), signal());
      await its.install(store);
      expect(await sha256(its.instance.configPath)).toBe(main);
      expect(await readFile(ours(), 'utf8')).toMatch(/^version = 3$/m);
      expect(await its.served()).toEqual(['crun', 'kata-fc', 'kata-qemu', 'runc', 'theirs']);
      expect(its.instance.restarts).toBe(1);
      expect(await its.install(store)).toEqual([]);
      expect(its.instance.restarts).toBe(1);

      await its.remove(store);
      expect(await effective(its.engine())).toBe(before);
      expect(await readdir(directory())).toEqual(['50-theirs.toml']);
      expect(await readdir(dirname(its.instance.configPath))).toEqual(['config.toml', 'more.d']);
      expect(await its.served()).toEqual(['crun', 'runc', 'theirs']);
      expect(store.record).toBeUndefined();
    });

    test('changes its handlers there, and a failed restart brings the earlier ones back', async () => {
      const store = await running();
      await its.install(store);
      const first = await sha256(ours());
      const other = {
        ...registration('kata-fc'),
        podAnnotations: ['io.katacontainers.config.hypervisor.default_memory'],
      };
      const registrations = [other, registration('kata-clh')];
      its.instance.failingRestarts = 1;
      expect(await failureOf(its.install(store, registrations))).toMatchObject({
        code: 'KATA_E_ENGINE_RESTART',
      });
      expect(await sha256(ours())).toBe(first);
      expect(await its.served()).toContain('kata-qemu');
      await its.install(store, registrations);
      expect(await its.served()).toEqual(['crun', 'kata-clh', 'kata-fc', 'runc', 'theirs']);
      its.instance.failingRestarts = 1;
      await failureOf(its.remove(store));
      expect(await readFile(ours(), 'utf8')).toContain('kata-clh');
      expect(await its.served()).toContain('kata-clh');
      await its.remove(store);
      expect(await readdir(directory())).toEqual(['50-theirs.toml']);
    });

    test('of a first installation that fails, nothing is left', async () => {
      const store = await running();
      its.instance.failingRestarts = 1;
      await failureOf(its.install(store));
      expect(await readdir(directory())).toEqual(['50-theirs.toml']);
      expect(await its.served()).toEqual(['crun', 'runc', 'theirs']);
      expect(store.record).toBeUndefined();
    });

    test('refuses what its own binary refuses, and a handler that another file there defines', async () => {
      const store = await running();
      const names = await readdir(directory());
      await writeFile(
        theirs(),
        `version = 3\n[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.kata-fc]\nruntime_type = "io.containerd.runc.v2"\n`,
      );
      const work = its.install(store);
      const error = await failureOf(work);
      expect(error).toMatchObject({ code: 'KATA_E_ENGINE_CONFIG_CONFLICT' });
      expect(error.message).toContain('50-theirs.toml defines the handler kata-fc');
      expect(await readdir(directory())).toEqual(names);
      await writeFile(theirs(), 'version = 3\nroot = 7\n');
      expect(await failureOf(its.install(store))).toMatchObject({
        code: 'KATA_E_ENGINE_REJECTED_CONFIG',
      });
      expect(await readdir(directory())).toEqual(names);
      expect(its.instance.restarts).toBe(0);
    });

    test('stays with the block where there is one already', async () => {
      await its.create();
      await its.instance.write(importing(its.admin.text)(its.instance));
      await its.instance.start();
      const store = new MemoryStore();
      await its.install(store);
      expect(await readFile(its.instance.configPath, 'utf8')).toContain('kata-qemu');
      await mkdir(directory());
      await its.install(store, [registration('kata-fc')]);
      expect(await readdir(directory())).toEqual([]);
      await its.remove(store);
      expect(await readFile(its.instance.configPath, 'utf8')).toBe(
        importing(its.admin.text)(its.instance),
      );
    });

    test('is served by a file whose parents are inline tables as well', async () => {
      const inline = (place: Place): string =>
        `version = 3\nroot = "${place.directory}/root"\nstate = "${place.directory}/state"\ngrpc = { address = "${place.socket}" }\n[plugins]\n"io.containerd.cri.v1.runtime" = { containerd = { default_runtime_name = "runc", runtimes = { runc = { runtime_type = "io.containerd.runc.v2" } } } }\n`;
      const store = await running(inline);
      await its.install(store);
      expect(await its.served()).toContain('kata-fc');
      await rm(ours());
      await its.remove(store);
      expect(await its.served()).toEqual(['runc', 'theirs']);
    });
  },
);
