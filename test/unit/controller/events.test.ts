import { describe, expect, it } from 'vitest';
import { badResult, World } from './support/world.ts';

describe('Events', () => {
  it('tell of a node on its KataNode, by its uid, and of the whole on the KataDeployment', () => {
    const world = new World({ rollout: { maxParallel: '3', maxUnavailable: '3' } });
    for (const name of ['n1', 'n2']) world.addNode(name);
    world.behaviour = (node, stage) =>
      node === 'n2' && stage === 'activate'
        ? badResult('failed', 'KATA_E_ENGINE_REJECTED_CONFIG', { cause: 'x' })
        : undefined;
    world.settle();
    const told = world.events.map(({ regarding, type }) => [
      type,
      regarding.kind,
      regarding.name,
      regarding.uid,
    ]);
    expect(told).toContainEqual(['Normal', 'KataNode', 'n1', world.kataNode('n1')?.uid]);
    expect(told).toContainEqual(['Warning', 'KataNode', 'n2', world.kataNode('n2')?.uid]);
    expect(told).toContainEqual(['Warning', 'KataDeployment', 'kata', world.deployment?.uid]);
    expect(told.filter(([, kind]) => kind === 'KataNode')).toHaveLength(2);
  });

  it('tell of a released node on the KataDeployment, which outlives its KataNode', () => {
    const world = new World();
    world.addNode('n1');
    world.settle();
    world.delete();
    world.settle();
    const released = world.events.find(({ reason }) => reason === 'NodeReleased');
    expect(released).toMatchObject({
      regarding: { kind: 'KataDeployment', name: 'kata' },
      note: 'n1 is as it was before',
    });
  });
});
