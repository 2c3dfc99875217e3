/** A node that another installer has labelled as its own: nothing of theirs is changed, and ours ends. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { INSTALL_TIMEOUT_MS, kataDeployment, NODES, rig, type Rig } from './support/operator.ts';

const LABEL = 'katacontainers.io/kata-runtime';
const [LABELLED, MISLABELLED] = NODES;

describe('a node with the label of another installer', () => {
  let it_: Rig;

  const theirs = async (node: string): Promise<string> => {
    const path = `jsonpath={.metadata.labels.${LABEL.replaceAll('.', String.raw`\.`)}}`;
    return it_.cluster.kubectl(['get', 'node', node, '-o', path]);
  };

  beforeAll(async () => {
    it_ = await rig();
    const { cluster, operator } = it_;
    await operator.remove('kata');
    await cluster.kubectl(['label', 'node', LABELLED, `${LABEL}=true`]);
    await cluster.kubectl(['label', 'node', MISLABELLED, `${LABEL}=cleanup`]);
  });

  afterAll(async () => {
    const { cluster, operator } = it_;
    await operator.remove('kata');
    for (const node of NODES) await cluster.kubectl(['label', 'node', node, `${LABEL}-`]);
  });

  it('becomes Ready, is released again, and keeps the label as it was', async () => {
    const { operator } = it_;
    await operator.apply(kataDeployment({ rollout: { maxParallel: '2', maxUnavailable: '2' } }));
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    expect(await Promise.all(NODES.map(theirs))).toEqual(['true', 'cleanup']);
    await operator.remove('kata');
    expect(await Promise.all(NODES.map(theirs))).toEqual(['true', 'cleanup']);
    expect(await operator.kataNodes()).toEqual([]);
  });
});
