import { afterEach, describe, expect, test } from 'vitest';
import { engineBinary } from '../../e2e/cluster/engines.ts';
import { discoverEngine } from '../../src/node/engine/index.ts';
import { fixturesOf } from './support/engineFixtures.ts';
import { EngineProcess } from './support/engineProcess.ts';
import { failureOf, host, signal } from './support/engineRelease.ts';

describe('discovery', () => {
  let instance: EngineProcess;

  afterEach(async () => {
    await instance.destroy();
  });

  test('finds the process behind the socket: its binary, version and configuration file', async () => {
    const binary = await engineBinary('2.4');
    instance = await EngineProcess.create(binary);
    await instance.write(fixturesOf(3)[0]?.text(instance) ?? '');
    await instance.start();
    const wanted = {
      type: 'Auto' as const,
      restart: 'WhenNeeded' as const,
      socket: instance.socket,
    };
    const found = await discoverEngine(host, wanted, signal());
    expect(found).toMatchObject({
      name: 'containerd',
      configPath: instance.configPath,
      socket: instance.socket,
      binaryPath: binary,
      running: true,
    });
    expect(found.version).toMatch(/^2\.4\.\d+$/);
    const other = await failureOf(
      discoverEngine(host, { ...wanted, configPath: '/etc/other.toml' }, signal()),
    );
    expect(other).toMatchObject({ code: 'KATA_E_ENGINE_CONFIG_CONFLICT' });
    expect(other.message).toContain(`reads ${instance.configPath}`);
  });
});
