import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  installedText,
  ownHandlers,
  removedText,
} from '../../../../src/node/engine/containerd/edit.ts';
import { checkImports } from '../../../../src/node/engine/containerd/imports.ts';
import { differsFromFile, servedBy } from '../../../../src/node/engine/containerd/loaded.ts';
import { definedRuntimes } from '../../../../src/node/engine/containerd/edit.ts';
import type { CriStatus } from '../../../../src/node/engine/cri/client.ts';
import type { Engine, HandlerRegistration } from '../../../../src/node/engine/engine.ts';
import { hostAt } from '../../../../src/node/host/host.ts';
import { parseToml } from '../../../../src/node/toml/document.ts';

const FILE = '/etc/containerd/config.toml';
const engineOf = (version: string): Engine => ({
  name: 'containerd',
  version,
  configPath: FILE,
  socket: '/run/containerd/containerd.sock',
  binaryPath: '/usr/bin/containerd',
  running: true,
});
const FC: HandlerRegistration = {
  handler: 'kata-fc',
  shimPath: '/shim',
  configPath: '/fc.toml',
  podAnnotations: ['io.katacontainers.x'],
};

describe('the text of config.toml', () => {
  const install = (text: string, version: string, registrations = [FC]): string =>
    installedText(text, engineOf(version), 'kata', registrations, FILE);

  test.for([
    { version: '1.7.24', fileVersion: 2, plugin: 'io.containerd.grpc.v1.cri' },
    { version: '2.1.9', fileVersion: 2, plugin: 'io.containerd.grpc.v1.cri' },
    { version: '2.1.9', fileVersion: 3, plugin: 'io.containerd.cri.v1.runtime' },
    { version: '2.4.2', fileVersion: 4, plugin: 'io.containerd.cri.v1.runtime' },
  ])(
    'of version $fileVersion on containerd $version has the handler in the table of $plugin',
    ({ version, fileVersion, plugin }) => {
      const text = install(
        `version = ${fileVersion}\n[plugins."${plugin}".containerd.runtimes.runc]\nruntime_type = "r"\n`,
        version,
      );
      expect(text).toContain(`[plugins."${plugin}".containerd.runtimes.kata-fc]
runtime_type = "io.containerd.kata.v2"
runtime_path = "/shim"
privileged_without_host_devices = true
pod_annotations = ["io.katacontainers.x"]
container_annotations = ["io.kubernetes.container.terminationMessage*"]
[plugins."${plugin}".containerd.runtimes.kata-fc.options]
ConfigPath = "/fc.toml"
`);
      expect(text).not.toContain('snapshotter');
      expect(ownHandlers(text, engineOf(version), 'kata', FILE)).toEqual(['kata-fc']);
    },
  );

  test.for([
    { version: '1.6.20', names: ['runtime_type = "/shim"'] },
    { version: '1.7.0', names: ['runtime_type = "/shim"'] },
    {
      version: '1.7.1',
      names: ['runtime_type = "io.containerd.kata.v2"', 'runtime_path = "/shim"'],
    },
  ])(
    'names the shim on containerd $version where that release looks for it',
    ({ version, names }) => {
      const runc =
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\nruntime_type = "r"\n';
      const added = install(runc, version).slice(runc.length);
      expect(added.split('\n').filter((line) => line.startsWith('runtime_'))).toEqual(names);
    },
  );

  test('brings runc along on containerd 1.x when the file defines no runtime, and only then', () => {
    expect(install('version = 2\n', '1.7.24')).toMatch(
      /runtimes\.runc\]\nruntime_type = "io\.containerd\.runc\.v2"\nsandbox_mode = "podsandbox"/,
    );
    expect(install('version = 2\n', '1.6.20')).not.toContain('sandbox_mode');
    expect(install('version = 3\n', '2.4.2')).not.toContain('runc');
    expect(
      ownHandlers(install('version = 2\n', '1.7.24'), engineOf('1.7.24'), 'kata', FILE),
    ).toEqual(['kata-fc']);
  });

  test('says which snapshotter unpacks the images of a handler where the runtime does not', () => {
    const registrations = [{ ...FC, snapshotter: 'blockfile' }];
    expect(install('version = 3\n', '2.4.2', registrations)).toContain(
      `[plugins."io.containerd.cri.v1.images".runtime_platforms.kata-fc]\nsnapshotter = "blockfile"`,
    );
    expect(install('version = 2\n', '2.4.2', registrations)).not.toContain('runtime_platforms');
    expect(() => install('version = 2\n', '1.6.20', registrations)).toThrow(
      /since containerd 1\.7/,
    );
  });

  test.for([
    { text: '', version: '2.4.2', first: 3 },
    { text: '# comments only\n', version: '1.7.24', first: 2 },
  ])('of a blank file gets version $first on containerd $version', ({ text, version, first }) => {
    expect(parseToml(install(text, version), FILE)['version']).toBe(BigInt(first));
    expect(removedText(install(text, version), engineOf(version), 'kata', FILE)).toBe(text);
  });

  test.for([
    { text: 'root = "/x"\n', says: /it has no "version"/ },
    { text: 'version = 1\n', says: /it has no "version"/ },
    { text: 'version = "2"\n', says: /version = string is not one/ },
    { text: 'version = 5\n', says: /version = 5 is not one/ },
    { text: 'version = 3\n', says: /newer than containerd 1\.7\.24 reads/ },
    { text: 'version = 2\ndisabled_plugins = ["cri"]\n', says: /disabled_plugins holds "cri"/ },
  ])('is refused: $text', ({ text, says }) => {
    expect(() => install(text, '1.7.24')).toThrow(says);
  });
});

describe('imports', () => {
  let root = '';
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'ko-imports-'));
  });
  afterEach(async () => {
    await rm(root, { recursive: true });
  });
  const put = async (path: string, text: string): Promise<void> => {
    await mkdir(join(root, dirname(path)), { recursive: true });
    await writeFile(join(root, path), text);
  };
  const check = (version: string, imports: string[]): Promise<void> =>
    checkImports(
      hostAt(root),
      engineOf(version),
      parseToml(`imports = ${JSON.stringify(imports)}`, FILE),
      ['kata-fc'],
    );

  test('by a pattern may match nothing, and harmless ones are let through', async () => {
    await put('/etc/containerd/conf.d/a.toml', 'version = 2\n[debug]\nlevel = "info"\n');
    await check('1.7.24', ['/etc/containerd/conf.d/*.toml', '/none/*.toml', 'conf.d/a.toml']);
  });

  test('that are missing are named, also when another import asks for them', async () => {
    await put('/etc/containerd/conf.d/a.toml', 'imports = ["../b.toml"]\n');
    await expect(check('2.4.2', ['conf.d/*.toml'])).rejects.toThrow(
      'it imports /etc/containerd/b.toml, which does not exist',
    );
  });

  test('that carry a CRI section are refused before containerd 2.0 and merged from then on', async () => {
    await put(
      '/etc/containerd/conf.d/a.toml',
      'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "x"\n',
    );
    await expect(check('1.7.24', ['conf.d/*.toml'])).rejects.toThrow(
      '/etc/containerd/conf.d/a.toml replaces its whole',
    );
    await check('2.4.2', ['conf.d/*.toml']);
  });

  test('that define one of the handlers are refused', async () => {
    await put(
      '/etc/containerd/conf.d/a.toml',
      "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kata-fc]\n",
    );
    await expect(check('2.4.2', ['conf.d/*.toml'])).rejects.toThrow('defines the handler kata-fc');
  });

  test('that import each other come to an end, and one that does not parse is named', async () => {
    await put('/etc/containerd/a.toml', 'imports = ["/etc/containerd/b.toml"]\n');
    await put(
      '/etc/containerd/b.toml',
      'imports = ["/etc/containerd/a.toml", "/etc/containerd/config.toml"]\n',
    );
    await check('2.4.2', ['a.toml']);
    await put('/etc/containerd/b.toml', '[x\n');
    await expect(check('2.4.2', ['a.toml'])).rejects.toThrow(
      '/etc/containerd/b.toml does not parse: line 1',
    );
  });
});

describe('what the engine has loaded', () => {
  const runtime = (changes: object = {}): object => ({
    runtimeType: 'io.containerd.kata.v2',
    runtimePath: '/shim',
    PodAnnotations: ['io.katacontainers.x'],
    ContainerAnnotations: ['io.kubernetes.container.terminationMessage*'],
    options: { ConfigPath: '/fc.toml' },
    privileged_without_host_devices: true,
    baseRuntimeSpec: '',
    ...changes,
  });
  const status = (runtimes: object, handlers: string[] = []): CriStatus => ({
    runtimeReady: true,
    notReadyCause: '',
    handlers,
    info: { config: JSON.stringify({ containerd: { runtimes } }) },
  });
  const engine = engineOf('2.4.2');
  const defined = definedRuntimes(
    parseToml(installedText('version = 3\n', engine, 'kata', [FC], FILE), FILE),
    engine,
    FILE,
  );

  test.for([
    { name: 'the same', runtimes: { 'kata-fc': runtime() }, differs: false },
    {
      name: 'with an empty snapshotter (1.7 and newer say it)',
      runtimes: { 'kata-fc': runtime({ snapshotter: '' }) },
      differs: false,
    },
    { name: 'not there', runtimes: {}, differs: true },
    {
      name: 'of another version',
      runtimes: { 'kata-fc': runtime({ runtimePath: '/old' }) },
      differs: true,
    },
    {
      name: 'with another configuration',
      runtimes: { 'kata-fc': runtime({ options: { ConfigPath: '/other' } }) },
      differs: true,
    },
    {
      name: 'without annotations',
      runtimes: { 'kata-fc': runtime({ PodAnnotations: null }) },
      differs: true,
    },
    {
      name: 'with a snapshotter',
      runtimes: { 'kata-fc': runtime({ snapshotter: 'blockfile' }) },
      differs: true,
    },
  ])('is $name: differs = $differs', ({ runtimes, differs }) => {
    expect(differsFromFile(status(runtimes), defined, ['kata-fc'])).toBe(differs);
  });

  test('differs while a handler that the file has lost is still loaded', () => {
    expect(
      differsFromFile(status({ 'kata-fc': runtime(), 'kata-old': runtime() }), defined, [
        'kata-fc',
        'kata-old',
      ]),
    ).toBe(true);
  });

  test('counts as different when the engine does not tell', () => {
    expect(differsFromFile({ ...status({}), info: {} }, defined, ['kata-fc'])).toBe(true);
    expect(
      differsFromFile({ ...status({}), info: { config: 'not json' } }, defined, ['kata-fc']),
    ).toBe(true);
  });

  test('gives the handlers as reported by 2.x, else as loaded', () => {
    expect(servedBy(status({ runc: runtime() }, ['', 'kata-fc', 'runc']))).toEqual([
      'kata-fc',
      'runc',
    ]);
    expect(servedBy(status({ runc: runtime(), 'kata-fc': runtime() }))).toEqual([
      'kata-fc',
      'runc',
    ]);
  });
});
