/** The controller may die at any moment: the end state is the same. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RELEASE_NAMESPACE } from '../operator/operator.ts';
import {
  engineStarts,
  fingerprints,
  INSTALL_TIMEOUT_MS,
  kataDeployment,
  NODES,
  rig,
  type Rig,
} from './support/operator.ts';

describe('a controller that is killed', () => {
  let it_: Rig;

  beforeAll(async () => {
    it_ = await rig();
    await it_.operator.remove('kata');
  });

  afterAll(async () => {
    await it_.operator.remove('kata');
  });

  /** All replicas at once, without a chance to say goodbye. */
  async function killControllers(): Promise<void> {
    await it_.cluster.kubectl([
      '-n',
      RELEASE_NAMESPACE,
      'delete',
      'pods',
      '-l',
      'app.kubernetes.io/component=controller',
      '--grace-period=0',
      '--force',
      '--wait=false',
    ]);
  }

  it.each([1_000, 4_000, 9_000])(
    '%d ms into an install and into a removal leads to the same end',
    async (delayMs) => {
      const { cluster, operator } = it_;
      const config = await fingerprints(cluster);
      const starts = await engineStarts(cluster);
      await operator.apply(kataDeployment({}));
      await operator.holdsFor(delayMs);
      await killControllers();
      await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
      const after = await engineStarts(cluster);
      for (const node of NODES) expect((after[node] ?? 0) - (starts[node] ?? 0), node).toBe(1);

      const removed = operator.remove('kata', INSTALL_TIMEOUT_MS);
      await operator.holdsFor(delayMs / 2);
      await killControllers();
      await removed;
      expect(await fingerprints(cluster)).toEqual(config);
    },
  );
});
