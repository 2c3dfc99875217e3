import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KataError } from '../../../src/errors.ts';
import { loadKubeConfig, type KubeConfigOptions } from '../../../src/kube/config.ts';

describe('loadKubeConfig', () => {
  let home: string;

  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'kube-config-'));
    await mkdir(join(home, '.kube'));
  });

  afterEach(async () => {
    await rm(home, { recursive: true });
  });

  async function kubeconfig(name: string, server: string): Promise<string> {
    const file = join(home, name);
    await writeFile(
      file,
      JSON.stringify({
        clusters: [{ name: server, cluster: { server: `https://${server}` } }],
        users: [{ name: server, user: { token: 't' } }],
        contexts: [{ name: server, context: { cluster: server, user: server } }],
        'current-context': server,
      }),
    );
    return file;
  }

  const serverOf = (options: KubeConfigOptions): string | undefined =>
    loadKubeConfig({ home, environment: {}, ...options }).getCurrentCluster()?.server;

  it('takes the file that is given before everything else', async () => {
    const given = await kubeconfig('given', 'given');
    const KUBECONFIG = await kubeconfig('environment', 'environment');
    expect(serverOf({ kubeconfig: given, environment: { KUBECONFIG } })).toBe('https://given');
  });

  it('takes KUBECONFIG before the file of the user, and the first of several', async () => {
    await kubeconfig('.kube/config', 'user');
    const KUBECONFIG = [await kubeconfig('a', 'first'), await kubeconfig('b', 'second')].join(':');
    expect(serverOf({ environment: { KUBECONFIG } })).toBe('https://first');
  });

  it('takes the file of the user when nothing else is said', async () => {
    await kubeconfig('.kube/config', 'user');
    expect(serverOf({})).toBe('https://user');
  });

  it('does not guess a server when there is nothing', () => {
    expect(() => serverOf({})).toThrow(KataError);
    expect(() => serverOf({})).toThrow(/no usable kubeconfig: there is no .*\.kube\/config/);
  });

  it.each([
    ['is not there', undefined],
    ['is no YAML', '{'],
    ['names no cluster', '{"clusters": [], "users": [], "contexts": [], "current-context": "x"}'],
  ])('says so when the file %s', async (_, content) => {
    const file = join(home, 'broken');
    if (content !== undefined) await writeFile(file, content);
    expect(() => serverOf({ kubeconfig: file })).toThrow(KataError);
  });
});
