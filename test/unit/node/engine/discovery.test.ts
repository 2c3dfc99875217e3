import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { discoverEngine } from '../../../../src/node/engine/discovery.ts';
import { distributionOf } from '../../../../src/node/engine/distributions/presets.ts';
import { endpointIn, kubeletSocket, socketPath } from '../../../../src/node/engine/kubelet.ts';
import { coerceVersion } from '../../../../src/node/engine/version.ts';
import { hostAt } from '../../../../src/node/host/host.ts';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ko-discovery-'));
});
afterEach(async () => {
  await rm(root, { recursive: true });
});

async function put(path: string, text: string): Promise<void> {
  await mkdir(join(root, dirname(path)), { recursive: true });
  await writeFile(join(root, path), text);
}

async function addProcess(
  pid: number,
  exe: string,
  argv: string[],
  listensOn?: string,
): Promise<void> {
  await put(`/proc/${pid}/cmdline`, argv.map((argument) => `${argument}\0`).join(''));
  await put(`/proc/${pid}/cgroup`, '0::/system.slice/some.service\n');
  await put(`/proc/${pid}/net/unix`, `header\n0: 2 0 00010000 0001 01 7 ${listensOn ?? ''}\n`);
  await symlink(exe, join(root, `proc/${pid}/exe`));
  await mkdir(join(root, `proc/${pid}/fd`));
  if (listensOn !== undefined) await symlink('socket:[7]', join(root, `proc/${pid}/fd/3`));
}

const wanted = { type: 'Auto' as const, restart: 'WhenNeeded' as const };
const discover = (extra = {}): ReturnType<typeof discoverEngine> =>
  discoverEngine(hostAt(root), { ...wanted, ...extra }, AbortSignal.timeout(10_000));

describe('the socket of kubelet', () => {
  test('comes from its flag, which wins over its configuration file', async () => {
    await put(
      '/var/lib/kubelet/config.yaml',
      'kind: KubeletConfiguration\ncontainerRuntimeEndpoint: "unix:///run/file.sock"\n',
    );
    await addProcess(5, '/usr/bin/kubelet', ['kubelet', '--config=/var/lib/kubelet/config.yaml']);
    expect(await kubeletSocket(hostAt(root))).toBe('/run/file.sock');
    await rm(join(root, 'proc/5'), { recursive: true });
    await addProcess(5, '/usr/bin/kubelet', [
      'kubelet',
      '--config',
      '/var/lib/kubelet/config.yaml',
      '--container-runtime-endpoint=unix:///run/flag.sock',
    ]);
    expect(await kubeletSocket(hostAt(root))).toBe('/run/flag.sock');
  });

  test('comes from the last file of its drop-in directory that names one', async () => {
    await put('/k.yaml', 'containerRuntimeEndpoint: unix:///run/main.sock\n');
    await put('/k.d/10-a.conf', 'containerRuntimeEndpoint: unix:///run/dropin.sock\n');
    await put('/k.d/20-b.conf', 'failSwapOn: false\n');
    await addProcess(5, '/usr/bin/kubelet', [
      'kubelet',
      '--config',
      '/k.yaml',
      '--config-dir',
      '/k.d',
    ]);
    expect(await kubeletSocket(hostAt(root))).toBe('/run/dropin.sock');
  });

  test.for([
    { content: 'containerRuntimeEndpoint: unix:///a # why', endpoint: 'unix:///a' },
    {
      content: `{"kind": "KubeletConfiguration", \n "containerRuntimeEndpoint": "unix:///a"}`,
      endpoint: 'unix:///a',
    },
    { content: 'containerRuntimeEndpoint: ""', endpoint: undefined },
    { content: '# containerRuntimeEndpoint: unix:///a', endpoint: undefined },
  ])('is read from $content', ({ content, endpoint }) => {
    expect(endpointIn(content)).toBe(endpoint);
  });

  test.for([
    { endpoint: 'unix:///run/x.sock', path: '/run/x.sock' },
    { endpoint: 'unix:/run/x.sock', path: '/run/x.sock' },
    { endpoint: '/run/x.sock', path: '/run/x.sock' },
    { endpoint: 'npipe:////./pipe/x', path: undefined },
    { endpoint: undefined, path: undefined },
  ])('has the path of $endpoint', ({ endpoint, path }) => {
    expect(socketPath(endpoint)).toBe(path);
  });
});

describe('an engine that is not edited is refused by name, with the reason', () => {
  test.for([
    {
      exe: '/usr/bin/cri-dockerd',
      argv: ['cri-dockerd'],
      socket: '/run/cri-dockerd.sock',
      name: /^cri-dockerd: /,
    },
    {
      exe: '/usr/bin/dockerd',
      argv: ['dockerd'],
      socket: '/run/own.sock',
      name: /^dockerd: .*is neither containerd nor CRI-O/,
    },
  ])('$exe', async ({ exe, argv, socket, name }) => {
    await addProcess(5, '/usr/bin/kubelet', [
      'kubelet',
      `--container-runtime-endpoint=unix://${socket}`,
    ]);
    await addProcess(9, exe, argv, socket);
    const work = discover();
    await expect(work).rejects.toMatchObject({ code: 'KATA_E_ENGINE_UNSUPPORTED' });
    await expect(work).rejects.toThrow(name);
  });

  test.for([
    { osRelease: 'NAME="Talos"\nID=talos\n', name: /^Talos Linux: .*system extension/ },
    { osRelease: "ID='bottlerocket'\n", name: /^Bottlerocket: / },
  ])('$osRelease', async ({ osRelease, name }) => {
    await put('/usr/lib/os-release', osRelease);
    await expect(discover()).rejects.toMatchObject({ code: 'KATA_E_ENGINE_UNSUPPORTED' });
    await expect(discover()).rejects.toThrow(name);
  });

  test('another engine than the one asked for', async () => {
    await expect(discover({ type: 'crio' })).rejects.toMatchObject({
      code: 'KATA_E_ENGINE_NOT_FOUND',
    });
  });

  test('a plain containerd is none of them', () => {
    expect(
      distributionOf([
        '/run/containerd/containerd.sock',
        '/etc/containerd/config.toml',
        '/usr/bin/containerd',
      ]),
    ).toBeUndefined();
  });

  test('nothing at all is EngineNotFound, Docker alone is said to be Docker', async () => {
    await expect(discover()).rejects.toMatchObject({ code: 'KATA_E_ENGINE_NOT_FOUND' });
    await put('/usr/bin/dockerd', '');
    await expect(discover()).rejects.toThrow(/^Docker: /);
  });
});

describe('the version', () => {
  test.for([
    {
      output: 'containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3',
      version: '1.6.20',
    },
    { output: 'containerd github.com/containerd/containerd/v2 v2.4.2 abcdef', version: '2.4.2' },
    { output: 'containerd github.com/containerd/containerd/v2 2.1.9+unknown \n', version: '2.1.9' },
    {
      output: 'containerd containerd.io 1.7.24 88bf19b2105c8b17560993bee28a01ddc2f97182',
      version: '1.7.24',
    },
    { output: 'containerd github.com/containerd/containerd/v2 2.3.0-rc.1 x', version: '2.3.0' },
    { output: 'command not found', version: undefined },
  ])('of "$output" is $version', ({ output, version }) => {
    expect(coerceVersion(output)).toBe(version);
  });

  test('too old is refused, and the binary of the host is run inside its root', async () => {
    await put('/usr/bin/containerd', '');
    await put(
      '/helper',
      '#!/bin/sh\n[ "$1 $3 $4" = "chroot /usr/bin/containerd --version" ] && echo "containerd x 1.5.9 y"\n',
    );
    await chmod(join(root, 'helper'), 0o755);
    process.env['KATA_HELPER'] = join(root, 'helper');
    try {
      const work = discover();
      await expect(work).rejects.toMatchObject({ code: 'KATA_E_ENGINE_UNSUPPORTED' });
      await expect(work).rejects.toThrow('containerd 1.5.9: it is older than containerd 1.6');
    } finally {
      delete process.env['KATA_HELPER'];
    }
  });

  test('of a stopped engine comes with its defaults, and its unit where there is one', async () => {
    await put('/usr/bin/containerd', '');
    await put('/lib/systemd/system/containerd.service', '[Service]\n');
    await put('/helper', '#!/bin/sh\necho "containerd x 1.7.24 y"\n');
    await chmod(join(root, 'helper'), 0o755);
    process.env['KATA_HELPER'] = join(root, 'helper');
    try {
      expect(await discover()).toMatchObject({
        name: 'containerd',
        version: '1.7.24',
        configPath: '/etc/containerd/config.toml',
        socket: '/run/containerd/containerd.sock',
        binaryPath: '/usr/bin/containerd',
        running: false,
        unit: 'containerd.service',
      });
    } finally {
      delete process.env['KATA_HELPER'];
    }
  });
});

describe('the engine of a distribution, as its documentation lays it out, is found with its file and unit', () => {
  const k3s = '/run/k3s/containerd/containerd.sock';
  test.for([
    {
      distribution: 'k3s',
      kubelet: ['/var/lib/rancher/k3s/data/abc/bin/k3s', 'k3s', 'server'],
      exe: '/var/lib/rancher/k3s/data/abc/bin/containerd',
      config: ['-c', '/var/lib/rancher/k3s/agent/etc/containerd/config.toml'],
      socket: k3s,
      version: '1.7.27',
    },
    {
      distribution: 'rke2',
      kubelet: [
        '/var/lib/rancher/rke2/data/v1/bin/kubelet',
        'kubelet',
        `--container-runtime-endpoint=unix://${k3s}`,
      ],
      exe: '/var/lib/rancher/rke2/data/v1/bin/containerd',
      config: ['-c', '/var/lib/rancher/rke2/agent/etc/containerd/config.toml'],
      socket: k3s,
      version: '2.1.5',
    },
    {
      distribution: 'k0s',
      kubelet: [
        '/var/lib/k0s/bin/kubelet',
        'kubelet',
        '--container-runtime-endpoint=unix:///run/k0s/containerd.sock',
      ],
      exe: '/var/lib/k0s/bin/containerd',
      config: ['--config=/etc/k0s/containerd.toml'],
      socket: '/run/k0s/containerd.sock',
      version: '2.1.4',
    },
    {
      distribution: 'microk8s',
      kubelet: ['/snap/microk8s/7178/kubelite', 'kubelite'],
      exe: '/snap/microk8s/7178/bin/containerd',
      config: ['--config', '/var/snap/microk8s/7178/args/containerd.toml'],
      socket: '/var/snap/microk8s/common/run/containerd.sock',
      version: '1.6.36',
    },
  ])('$distribution', async ({ distribution, kubelet, exe, config, socket, version }) => {
    const [program = '', ...argv] = kubelet;
    await addProcess(5, program, argv);
    await addProcess(9, exe, ['containerd', ...config], socket);
    await put('/helper', `#!/bin/sh\necho "containerd x ${version} y"\n`);
    await chmod(join(root, 'helper'), 0o755);
    process.env['KATA_HELPER'] = join(root, 'helper');
    try {
      expect(await discover()).toMatchObject({
        name: 'containerd',
        distribution,
        version,
        socket,
        binaryPath: exe,
        configPath: config.at(-1)?.replace('--config=', ''),
        unit: 'some.service',
        running: true,
      });
    } finally {
      delete process.env['KATA_HELPER'];
    }
  });
});
