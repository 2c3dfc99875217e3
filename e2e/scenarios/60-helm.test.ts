/** What Helm's hooks do: the test after an install, and the check that keeps an uninstall from stranding nodes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RELEASE, RELEASE_NAMESPACE } from '../operator/operator.ts';
import { INSTALL_TIMEOUT_MS, kataDeployment, rig, type Rig } from './support/operator.ts';

const NAMESPACE = ['--namespace', RELEASE_NAMESPACE];

describe('the release', () => {
  let it_: Rig;

  beforeAll(async () => {
    it_ = await rig();
    await it_.operator.remove('kata');
  });

  afterAll(async () => {
    await it_.operator.remove('kata');
  });

  it('passes helm test', async () => {
    const output = await it_.cluster.helm(['test', RELEASE, ...NAMESPACE, '--timeout', '120s'], {
      timeoutMs: 150_000,
    });
    expect(output).toMatch(/Phase:\s+Succeeded/);
  });

  it('refuses to be uninstalled while a KataDeployment exists, and stays as it is', async () => {
    const { cluster, operator } = it_;
    await operator.apply(kataDeployment({}));
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    await expect(
      cluster.helm(['uninstall', RELEASE, ...NAMESPACE, '--timeout', '60s'], {
        timeoutMs: 120_000,
      }),
    ).rejects.toThrow(/uninstall|pre-delete/);
    expect((await operator.kataNode('node-a'))?.status?.phase).toBe('Ready');
    const ready = await cluster.kubectl([
      ...['-n', RELEASE_NAMESPACE, 'get', 'deployment', 'kata-operator'],
      ...['-o', 'jsonpath={.status.readyReplicas}'],
    ]);
    expect(ready).toBe('2');
  });

  it('goes without a trace of its own once the KataDeployment is deleted, and keeps the CRDs', async () => {
    const { cluster, operator } = it_;
    await operator.remove('kata');
    await cluster.helm(['uninstall', RELEASE, ...NAMESPACE, '--wait', '--timeout', '120s'], {
      timeoutMs: 150_000,
    });
    const left = await cluster.kubectl([
      ...['get', 'deployments,pods,clusterroles,clusterrolebindings', '-A', '-o', 'name'],
      ...['-l', 'app.kubernetes.io/name=kata-operator'],
    ]);
    expect(left.trim()).toBe('');
    expect(await cluster.kubectl(['get', 'crd', '-o', 'name'])).toContain(
      'katadeployments.kata-operator.dev',
    );
  });
});
