/** A rollout in waves: the soak, the release of a wave by a person, and a node that is taken out. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { INSTALL_TIMEOUT_MS, kataDeployment, NODES, rig, type Rig } from './support/operator.ts';

const [FIRST, SECOND] = NODES;
const SKIP = 'kata-operator.dev/skip';
const SOAK_MS = 15_000;

describe('a rollout in waves', () => {
  let it_: Rig;

  beforeAll(async () => {
    it_ = await rig();
    await it_.operator.remove('kata');
  });

  afterAll(async () => {
    const { cluster, operator } = it_;
    await operator.remove('kata');
    for (const node of NODES) await cluster.kubectl(['annotate', 'node', node, `${SKIP}-`]);
  });

  it('starts the second wave when the first has been Ready through the soak', async () => {
    const { operator } = it_;
    await operator.apply(kataDeployment({ rollout: { soak: `${String(SOAK_MS / 1000)}s` } }));
    await operator.waitReason('kata', 'Progressing', 'Soaking');
    expect((await operator.kataNodes()).map(({ metadata }) => metadata.name)).toEqual([FIRST]);
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    const [first, second] = await Promise.all(NODES.map((node) => operator.kataNode(node)));
    const readyMs = Date.parse(first?.status?.since ?? '');
    const claimedMs = Date.parse(second?.spec.claimedAt ?? '');
    expect(claimedMs - readyMs).toBeGreaterThanOrEqual(SOAK_MS);
    expect(claimedMs - readyMs).toBeLessThan(SOAK_MS + 10_000);
  });

  it('waits for a person before the next wave of another revision, and goes on with the command it shows', async () => {
    const { cluster, operator } = it_;
    const spec = { runtimes: [{ name: 'fc' }], rollout: { approval: 'PerWave' } };
    await operator.apply(kataDeployment(spec));
    await operator.waitReason('kata', 'Progressing', 'WaitingForApproval');
    const wave = ['get', 'katad', 'kata', '-o', 'jsonpath={.status.wave}'];
    expect(await cluster.kubectl(wave)).toBe('1/2');
    await operator.holdsFor(5_000);
    const revisions = (await operator.kataNodes()).map(({ status }) => status?.revision);
    expect(new Set(revisions).size).toBe(2);
    const message = (await operator.condition('kata', 'Progressing'))?.message ?? '';
    const command =
      /kubectl (annotate katadeployment \S+ --overwrite \S+)/.exec(message)?.[1] ?? '';
    await cluster.kubectl(command.replace(/\.$/, '').split(' '));
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    expect(await cluster.kubectl(wave)).toBe('2/2');
  });

  it('leaves a node alone that a person has taken out, and takes it in again', async () => {
    const { cluster, operator } = it_;
    const before = await operator.kataNode(SECOND);
    await cluster.kubectl(['annotate', 'node', SECOND, `${SKIP}=true`]);
    await operator.apply(kataDeployment({ runtimes: [{ name: 'qemu' }] }));
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    expect((await operator.condition('kata', 'Available'))?.message).toContain(SECOND);
    expect((await operator.kataNode(SECOND))?.status?.revision).toBe(before?.status?.revision);
    await cluster.kubectl(['annotate', 'node', SECOND, `${SKIP}-`]);
    await operator.waitPhase(SECOND, 'Ready');
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    expect((await operator.kataNode(SECOND))?.status?.revision).toBe(
      (await operator.kataNode(FIRST))?.status?.revision,
    );
  });
});
