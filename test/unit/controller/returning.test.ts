import { describe, expect, it } from 'vitest';
import { ANNOTATION, LABEL } from '../../../src/crds/names.ts';
import { ALL_AT_ONCE, aWorld, badResult, type Behaviour, type World } from './support/world.ts';

const PARALLEL = { ...ALL_AT_ONCE, maxParallel: '100%', maxUnavailable: '100%' };
const FIRST = { runtimes: [{ name: 'qemu' }] };
const SECOND = { runtimes: [{ name: 'qemu' }, { name: 'fc' }] };

/** Whose Pod of the second revision fails in activation. */
function refusing(first: string, ...nodes: string[]): Behaviour {
  return (node, stage, revision) =>
    revision !== first && stage === 'activate' && (nodes.length === 0 || nodes.includes(node))
      ? badResult('rolledBack', 'KATA_E_ENGINE_REJECTED_CONFIG')
      : undefined;
}

/** A fleet that is Ready at a first revision, whose name comes with it. */
function aReadyFleet(nodes: number, rollout: object): { world: World; first: string } {
  const world = aWorld(nodes, { ...FIRST, rollout });
  world.settle();
  world.nowMs += 3_600_000;
  return { world, first: world.kataNode('worker-1')?.status?.revision ?? '' };
}

describe('a node that fails at another revision', () => {
  it('is given the one before again, advertised, and counts as failed with its reason', () => {
    const { world, first } = aReadyFleet(2, PARALLEL);
    world.behaviour = refusing(first, 'worker-1');
    world.edit({ ...SECOND, rollout: PARALLEL });
    world.settle();
    expect(world.kataNode('worker-1')?.status).toMatchObject({ phase: 'Ready', revision: first });
    expect(world.labels('worker-1')).toMatchObject({
      [LABEL.revision]: first,
      [LABEL.claim]: `kata.${first}`,
      [LABEL.kataRuntime]: 'true',
    });
    expect(world.phase('worker-2')).toBe('Ready');
    expect(world.condition('Available')?.status).toBe('False');
    expect(world.condition('Degraded')?.message).toContain(`worker-1 (now at revision ${first})`);
    expect(world.condition('Degraded')?.message).toContain('EngineRejectedConfig');
    expect(world.deployment?.status).toMatchObject({
      nodes: { ready: 1, failed: 1 },
      failures: [{ node: 'worker-1', reason: 'EngineRejectedConfig' }],
    });
    expect(world.daemonSets.size).toBe(2);
  });

  it('keeps the budget spent: the fleet stays at what works', () => {
    const rollout = { maxParallel: '100%', maxUnavailable: '100%', failureBudget: 1 };
    const { world, first } = aReadyFleet(20, rollout);
    world.behaviour = refusing(first);
    world.edit({ ...SECOND, rollout });
    world.settle();
    for (const node of world.nodes.keys())
      expect(world.kataNode(node)?.status).toMatchObject({ phase: 'Ready', revision: first });
    expect(world.condition('Degraded')?.reason).toBe('FailureBudgetExhausted');
    world.nowMs += 3_600_000;
    world.settle();
    expect(world.condition('Degraded')?.reason).toBe('FailureBudgetExhausted');
    expect(world.events.filter(({ reason }) => reason === 'EngineRejectedConfig')).toHaveLength(2);
  });

  it('goes to the next revision like all others, and the old ones are collected', () => {
    const { world, first } = aReadyFleet(2, PARALLEL);
    world.behaviour = refusing(first);
    world.edit({ ...SECOND, rollout: PARALLEL });
    world.settle();
    world.behaviour = () => undefined;
    world.edit({ runtimes: [{ name: 'clh' }], rollout: PARALLEL });
    world.settle();
    expect(world.condition('Available')?.status).toBe('True');
    expect(world.kataNode('worker-1')?.spec.returnedFrom).toBeUndefined();
    expect(world.daemonSets.size).toBe(1);
    expect(world.configMaps.size).toBe(1);
  });

  it('is well again when the specification goes back', () => {
    const { world, first } = aReadyFleet(2, PARALLEL);
    world.behaviour = refusing(first);
    world.edit({ ...SECOND, rollout: PARALLEL });
    world.settle();
    world.edit({ ...FIRST, rollout: PARALLEL });
    world.settle();
    expect(world.condition('Available')?.status).toBe('True');
    expect(world.condition('Degraded')?.status).toBe('False');
  });

  it('tries the new revision once more when a person asks', () => {
    const { world, first } = aReadyFleet(1, PARALLEL);
    world.behaviour = refusing(first);
    world.edit({ ...SECOND, rollout: PARALLEL });
    world.settle();
    world.behaviour = () => undefined;
    world.annotateKataNode('worker-1', { [ANNOTATION.retry]: 'fixed' });
    world.settle();
    expect(world.condition('Available')?.status).toBe('True');
    expect(world.kataNode('worker-1')?.status?.revision).not.toBe(first);
    expect(world.kataNode('worker-1')?.spec.returnedFrom).toBeUndefined();
  });

  it('is first tried again by itself where that may help', () => {
    const { world, first } = aReadyFleet(1, PARALLEL);
    let refusals = 2;
    world.behaviour = (_node, stage, revision) => {
      if (revision === first || stage !== 'stage' || refusals === 0) return undefined;
      refusals -= 1;
      return badResult('refused', 'KATA_E_ARTIFACT_FETCH', { url: 'https://x', cause: 'refused' });
    };
    world.edit({ ...SECOND, rollout: PARALLEL });
    for (let minute = 0; minute < 10; minute += 1) {
      world.settle();
      expect(world.kataNode('worker-1')?.spec.returnedFrom).toBeUndefined();
      world.nowMs += 60_000;
    }
    expect(world.condition('Available')?.status).toBe('True');
  });

  it('stays where it is with onFailure: Leave', () => {
    const rollout = { ...PARALLEL, onFailure: 'Leave' };
    const { world, first } = aReadyFleet(1, rollout);
    world.behaviour = refusing(first);
    world.edit({ ...SECOND, rollout });
    world.settle();
    expect(world.phase('worker-1')).toBe('RolledBack');
    expect(world.kataNode('worker-1')?.spec.revision).not.toBe(first);
  });

  it('has nowhere to go back to after a first install', () => {
    const world = aWorld(1, { ...FIRST, rollout: PARALLEL });
    world.behaviour = refusing('');
    world.settle();
    expect(world.phase('worker-1')).toBe('RolledBack');
    expect(world.kataNode('worker-1')?.spec.returnedFrom).toBeUndefined();
  });

  it('is not moved while the rollout is paused', () => {
    const { world, first } = aReadyFleet(1, PARALLEL);
    world.behaviour = (node, stage, revision) => {
      const bad = refusing(first)(node, stage, revision);
      if (bad !== undefined) world.edit({ ...SECOND, rollout: { ...PARALLEL, paused: true } });
      return bad;
    };
    world.edit({ ...SECOND, rollout: PARALLEL });
    world.settle();
    expect(world.phase('worker-1')).toBe('RolledBack');
    world.edit({ ...SECOND, rollout: PARALLEL });
    world.settle();
    expect(world.kataNode('worker-1')?.status).toMatchObject({ phase: 'Ready', revision: first });
  });
});
