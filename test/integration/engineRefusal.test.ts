import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { ENGINE_RELEASES } from '../../e2e/cluster/engines.ts';
import { checkEngineConfig } from '../../src/node/engine/index.ts';
import { inlineFixture } from './support/engineFixtures.ts';
import { failureOf, host, sha256, signal, useRelease } from './support/engineRelease.ts';

describe.for(ENGINE_RELEASES)('containerd %s', (release) => {
  const its = useRelease(release);

  const table = (handler: string): string =>
    its.fileVersion === 2
      ? `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${handler}]\n`
      : `[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.${handler}]\n`;

  const badFiles: { name: string; change: (text: string) => string; code: string; says: RegExp }[] =
    [
      {
        name: 'that does not parse any more',
        change: (text) => `${text}[plugins\n`,
        code: 'KATA_E_ENGINE_CONFIG_INVALID',
        says: /config\.toml does not parse: line \d+/,
      },
      {
        name: 'with a value that containerd itself refuses',
        change: (text) => text.replace(/^root = .*$/m, 'root = 7'),
        code: 'KATA_E_ENGINE_REJECTED_CONFIG',
        says: /containerd \d+\.\d+\.\d+ refused the configuration: (?!it ended).*\S/,
      },
      {
        name: 'that defines the handler itself',
        change: (text) => `${text}${table('kata-fc')}runtime_type = "io.containerd.runc.v2"\n`,
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /runtimes\.kata-fc\] is already defined outside the block/,
      },
      {
        name: 'that kata-deploy has put its handler into',
        change: (text) =>
          `${text}${table('kata-qemu')}runtime_type = "io.containerd.kata-qemu.v2"\nruntime_path = "/opt/kata/bin/containerd-shim-kata-v2"\n`,
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /handler kata-qemu is there already with the shim \/opt\/kata\/bin.*kata-deploy/,
      },
      {
        name: 'with the import of a kata-deploy that is gone',
        change: (text) => `imports = ["/opt/kata/containerd/config.d/kata-deploy.toml"]\n${text}`,
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /kata-deploy\.toml \(made by kata-deploy\), which does not exist/,
      },
      {
        name: 'with a default runtime that nobody defines',
        change: (text) =>
          text.replace(/default_runtime_name = .*/, 'default_runtime_name = "gone"'),
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /default_runtime_name is "gone", which is not defined/,
      },
      {
        name: 'with an import that is not there',
        change: (text) => `imports = ["/etc/none/at/all/*.toml", "missing.toml"]\n${text}`,
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /it imports \/.*\/etc\/missing\.toml, which does not exist/,
      },
      {
        name: 'of an unknown version',
        change: (text) => text.replace(/^version = \d/m, 'version = 9'),
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /version = 9 is not one that kata-operator knows/,
      },
      {
        name: 'without a version',
        change: (text) => text.replace(/^version = .*$/m, ''),
        code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
        says: /it has no "version"/,
      },
    ];

  test.for(badFiles)(
    'refuses a file $name, and touches neither the file nor the engine',
    async ({ change, code, says }) => {
      const store = await its.running();
      await its.instance.write(change(await readFile(its.instance.configPath, 'utf8')));
      const original = await sha256(its.instance.configPath);
      const { pid } = its.instance;
      const error = await failureOf(its.install(store));
      expect(error).toMatchObject({ code });
      expect(error.message).toMatch(says);
      await its.expectUntouched(original, pid, store);
    },
  );

  test('refuses a file whose parent tables are inline and names the one to rewrite', async () => {
    const store = await its.running((place) => inlineFixture(its.fileVersion, place));
    const original = await sha256(its.instance.configPath);
    const { pid } = its.instance;
    const error = await failureOf(its.install(store));
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_CONFIG_CONFLICT' });
    expect(error.message).toMatch(
      /plugins\."io\.containerd\.[a-z0-9.]+" cannot be extended .* not inline/,
    );
    await its.expectUntouched(original, pid, store);
    expect(await failureOf(checkEngineConfig(host, its.engine(), signal()))).toMatchObject({
      code: 'KATA_E_ENGINE_CONFIG_CONFLICT',
    });
  });
});
