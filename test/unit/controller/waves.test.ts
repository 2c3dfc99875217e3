import { describe, expect, it } from 'vitest';
import { ANNOTATION, approvedWave, approveValue } from '../../../src/crds/names.ts';
import { limitsOf } from '../../../src/controller/rollout/waves.ts';
import { badResult, START_MS, World } from './support/world.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

function aFleet(nodes: number, rollout: object = {}): World {
  const world = new World({ rollout: { maxParallel: '100%', maxUnavailable: '100%', ...rollout } });
  for (let index = 1; index <= nodes; index += 1)
    world.addNode(`worker-${String(index).padStart(2, '0')}`, {
      labels: { zone: index % 2 === 0 ? 'even' : 'odd' },
    });
  return world;
}

/** Lets the cluster work without letting more time go by than the work takes. */
function work(world: World, rounds = 12): void {
  for (let round = 0; round < rounds; round += 1) {
    world.reconcile();
    world.playCluster();
    world.nowMs += 100;
  }
}

function reached(world: World): string[] {
  return [...world.kataNodes.keys()].sort();
}

function ready(world: World): number {
  return [...world.nodes.keys()].filter((node) => world.phase(node) === 'Ready').length;
}

function statusOf(world: World): { wave?: string } {
  return world.deployment?.status as { wave?: string };
}

describe('the limits of waves', () => {
  it.each([
    [['1', '10%', '100%'], 240, [1, 24, 240]],
    [['1', '10%', '100%'], 5_000, [1, 500, 5_000]],
    [['1', '10%', '100%'], 5, [1, 5]],
    [['1', '10%', '100%'], 1, [1]],
    [['1', '10%', '100%'], 0, []],
    // Whoever names only the first steps wants the rest to follow.
    [['2', '25%'], 40, [2, 10, 40]],
    [['100%'], 7, [7]],
    [['50', '10', '60'], 55, [50, 55]],
  ])('%j of %i nodes are %j', (waves, poolSize, limits) => {
    expect(limitsOf(waves, poolSize)).toEqual(limits);
  });
});

describe('a rollout in waves', () => {
  it('reaches one node, lets it soak, then a tenth, then all', () => {
    const world = aFleet(20);
    work(world);
    expect(reached(world)).toEqual(['worker-01']);
    expect(statusOf(world).wave).toBe('1/3');
    expect(world.condition('Progressing')).toMatchObject({ status: 'True', reason: 'Soaking' });
    world.nowMs += 50_000;
    work(world);
    expect(reached(world)).toHaveLength(1);
    world.nowMs += 10_000;
    work(world);
    expect(reached(world)).toHaveLength(2);
    expect(statusOf(world).wave).toBe('2/3');
    world.nowMs += MINUTE_MS;
    work(world);
    expect(ready(world)).toBe(20);
    expect(statusOf(world).wave).toBe('3/3');
    expect(world.condition('Available')?.status).toBe('True');
  });

  it('goes the same way again after an edit, and a change of classes alone starts none', () => {
    const world = aFleet(10);
    world.settle();
    const overhead = { memory: '200Mi' };
    world.edit({
      runtimes: ['qemu', 'clh', 'fc'].map((name) => ({ name })),
      rollout: { maxParallel: '100%' },
    });
    work(world);
    const moved = new Set([...world.pods.values()].map(({ revision }) => revision));
    expect(moved.size).toBe(2);
    expect(statusOf(world).wave).toBe('1/2');
    world.settle();
    world.edit({
      runtimes: ['qemu', 'clh', 'fc'].map((name) => ({ name, runtimeClass: { overhead } })),
      rollout: { maxParallel: '100%' },
    });
    const before = world.pods.size;
    work(world);
    expect(world.pods.size).toBe(before);
    expect(statusOf(world).wave).toBe('2/2');
  });

  it('takes another node in place of one that failed, as often as the budget lets it, and none more', () => {
    const world = aFleet(20, { failureBudget: 2 });
    world.behaviour = (_node, stage) =>
      stage === 'activate' ? badResult('rolledBack', 'KATA_E_ENGINE_REJECTED_CONFIG') : undefined;
    world.settle();
    expect(reached(world)).toEqual(['worker-01', 'worker-02', 'worker-03']);
    expect(world.condition('Degraded')?.reason).toBe('FailureBudgetExhausted');
    expect(statusOf(world).wave).toBe('1/3');
  });

  it('counts a node that stops being Ready within the soak as failed, and one that does later not', () => {
    const world = aFleet(20, { failureBudget: 0 });
    work(world);
    world.nowMs += 30_000;
    world.setReady('worker-01', false);
    world.nowMs += HOUR_MS;
    work(world);
    expect(reached(world)).toEqual(['worker-01']);
    expect(world.condition('Degraded')).toMatchObject({
      status: 'True',
      reason: 'FailureBudgetExhausted',
    });
    expect(world.condition('Degraded')?.message).toContain('worker-01');
    world.setReady('worker-01', true);
    world.settle();
    expect(ready(world)).toBe(20);
    world.nowMs += HOUR_MS;
    world.setReady('worker-07', false);
    work(world);
    expect(world.condition('Degraded')?.status).toBe('False');
  });

  it('takes a node that joins a finished fleet at once', () => {
    const world = aFleet(20);
    world.settle();
    world.nowMs += HOUR_MS;
    world.addNode('worker-99', { createdAtMs: world.nowMs });
    work(world);
    expect(world.phase('worker-99')).toBe('Ready');
  });

  it('lets no newcomer run ahead of the canary', () => {
    const world = aFleet(20);
    world.behaviour = () => 'hang';
    work(world);
    world.addNode('a-new-one', { createdAtMs: world.nowMs });
    work(world);
    expect(reached(world)).toEqual(['worker-01']);
  });

  it('is found again by a controller that comes new', () => {
    const world = aFleet(20);
    work(world);
    if (world.deployment !== undefined) world.deployment = { ...world.deployment, status: {} };
    work(world);
    expect(statusOf(world).wave).toBe('1/3');
    expect(reached(world)).toHaveLength(1);
  });
});

describe('approval per wave', () => {
  it('starts the first by itself and every other when a person says so, and tells how', () => {
    const world = aFleet(20, { approval: 'PerWave', soak: '0s' });
    world.settle();
    expect(reached(world)).toHaveLength(1);
    const waiting = world.condition('Progressing');
    expect(waiting?.reason).toBe('WaitingForApproval');
    const command = /kubectl annotate katadeployment kata --overwrite (\S+)=(\S+)/.exec(
      waiting?.message ?? '',
    );
    world.annotate({ [command?.[1] ?? '']: command?.[2] ?? '' });
    world.settle();
    expect(reached(world)).toHaveLength(2);
    const target = [...world.pods.values()][0]?.revision ?? '';
    world.annotate({ [ANNOTATION.approve]: approveValue(target, 3) });
    world.settle();
    expect(ready(world)).toBe(20);
  });

  it('of one revision says nothing about another', () => {
    expect(approvedWave('aaaaaaaaaa.3', 'aaaaaaaaaa')).toBe(3);
    expect(approvedWave('aaaaaaaaaa.3', 'bbbbbbbbbb')).toBe(1);
    expect(approvedWave('aaaaaaaaaa', 'aaaaaaaaaa')).toBe(1);
    expect(approvedWave('aaaaaaaaaa.-1', 'aaaaaaaaaa')).toBe(1);
    expect(approvedWave(undefined, 'aaaaaaaaaa')).toBe(1);
  });

  it('runs into no deadline', () => {
    const world = aFleet(20, { approval: 'PerWave', soak: '0s', progressDeadline: '10m' });
    world.settle();
    world.nowMs += HOUR_MS;
    world.settle();
    expect(world.condition('Progressing')?.reason).toBe('WaitingForApproval');
  });
});

describe('the order', () => {
  it('puts canaries first', () => {
    const world = aFleet(4, { order: { first: { matchLabels: { zone: 'even' } } } });
    work(world);
    expect(reached(world)).toEqual(['worker-02']);
  });

  it('works in one zone at a time', () => {
    const world = aFleet(8, { topologyKey: 'zone', waves: ['100%'] });
    const together = new Set<string>();
    for (let round = 0; round < 60; round += 1) {
      world.reconcile();
      const inWork = [...world.nodes.keys()].filter(
        (node) => world.kataNode(node) !== undefined && world.phase(node) !== 'Ready',
      );
      together.add([...new Set(inWork.map((node) => world.labels(node)['zone']))].join('+'));
      world.playCluster();
      world.nowMs += 1_000;
    }
    expect(ready(world)).toBe(8);
    expect([...together].sort()).toEqual(['', 'even', 'odd']);
  });

  it('keeps control-plane nodes for the end, one at a time, and waits for none that does not answer', () => {
    const world = new World({
      nodes: { excludeControlPlane: false },
      rollout: { maxParallel: '100%', maxUnavailable: '100%', waves: ['100%'], soak: '0s' },
    });
    for (const name of ['a-control', 'b-control'])
      world.addNode(name, { labels: { 'node-role.kubernetes.io/control-plane': '' } });
    world.addNode('worker-1');
    world.addNode('worker-2', { ready: false });
    const claims: string[] = [];
    for (let round = 0; round < 40; round += 1) {
      world.reconcile();
      for (const name of reached(world)) if (!claims.includes(name)) claims.push(name);
      const busy = reached(world).filter((name) => world.phase(name) !== 'Ready');
      expect(busy.length).toBeLessThanOrEqual(1);
      world.playCluster();
      world.nowMs += 1_000;
    }
    expect(claims).toEqual(['worker-1', 'a-control', 'b-control']);
  });
});

describe('maintenance windows', () => {
  const window = { schedule: '0 22 * * *', duration: '2h' };

  it('let work start inside of them only, and what was begun is finished', () => {
    // The world begins at midnight, in UTC, when the window of the day before has just closed.
    const world = aFleet(2, { windows: [window], soak: '0s' });
    world.settle();
    expect(reached(world)).toEqual([]);
    expect(world.condition('Progressing')).toMatchObject({
      status: 'False',
      reason: 'OutsideWindow',
    });
    expect(world.condition('Progressing')?.message).toContain('2030-01-01T22:00:00.000Z');
    world.nowMs = START_MS + 24 * HOUR_MS - 150;
    world.reconcile();
    world.playCluster();
    world.nowMs += 100;
    world.reconcile();
    expect(reached(world)).toHaveLength(1);
    world.settle();
    expect(ready(world)).toBe(1);
    world.nowMs = START_MS + 46 * HOUR_MS;
    world.settle();
    expect(ready(world)).toBe(2);
  });

  it('do not hold a deletion, nor what a person asks for by name', () => {
    const world = aFleet(1, { soak: '0s' });
    world.settle();
    world.edit({ rollout: { windows: [window] } });
    world.nowMs += HOUR_MS;
    world.annotateKataNode('worker-01', { [ANNOTATION.retry]: 'now' });
    const before = world.kataNode('worker-01')?.status?.attempt;
    world.settle();
    expect(world.kataNode('worker-01')?.status?.attempt).not.toBe(before);
    world.delete();
    world.settle();
    expect(world.deployment).toBeUndefined();
  });

  it.each([
    ['99 99 * * *', 'minute'],
    ['0 0 30 2 *', 'never comes'],
  ])('that mean nothing (%s) are refused by name', (schedule, cause) => {
    const world = aFleet(1, { windows: [{ schedule, duration: '1h' }] });
    world.settle();
    const degraded = world.condition('Degraded');
    expect(degraded?.reason).toBe('InvalidSpec');
    expect(degraded?.message).toContain('spec.rollout.windows[0].schedule');
    expect(degraded?.message).toContain(cause);
  });
});

describe('a node with the annotation skip', () => {
  it('is left as it is and counted apart, until the annotation goes', () => {
    const world = aFleet(3, { soak: '0s', waves: ['100%'] });
    world.annotateNode('worker-02', { [ANNOTATION.skip]: 'true' });
    world.settle();
    expect(reached(world)).toEqual(['worker-01', 'worker-03']);
    expect(world.condition('Available')?.message).toContain('worker-02');
    world.annotateNode('worker-02', {});
    world.settle();
    expect(ready(world)).toBe(3);
  });

  it('no longer counts as failed', () => {
    const world = aFleet(3, { soak: '0s', failureBudget: 0 });
    world.behaviour = (node, stage) =>
      node === 'worker-01' && stage === 'activate'
        ? badResult('rolledBack', 'KATA_E_ENGINE_REJECTED_CONFIG')
        : undefined;
    world.settle();
    expect(ready(world)).toBe(0);
    world.annotateNode('worker-01', { [ANNOTATION.skip]: 'true' });
    world.settle();
    expect(ready(world)).toBe(2);
    expect(world.condition('Available')?.status).toBe('True');
  });

  it('no longer counts as failed when it went down in its soak, nor as one that has soaked', () => {
    const world = aFleet(20, { failureBudget: 0 });
    work(world);
    world.setReady('worker-01', false);
    world.nowMs += HOUR_MS;
    work(world);
    expect(world.condition('Degraded')?.message).toContain(`${ANNOTATION.skip}=true`);
    world.annotateNode('worker-01', { [ANNOTATION.skip]: 'true' });
    work(world);
    expect(world.condition('Degraded')?.status).toBe('False');
    expect(reached(world)).toEqual(['worker-01', 'worker-02']);
    world.settle();
    expect(ready(world)).toBe(20);
    expect(world.condition('Available')?.message).toContain('worker-01');
  });

  it('is cleaned all the same when the KataDeployment goes', () => {
    const world = aFleet(1);
    world.settle();
    world.annotateNode('worker-01', { [ANNOTATION.skip]: 'true' });
    world.delete();
    world.settle();
    expect(world.deployment).toBeUndefined();
    expect([...world.installed]).toEqual([]);
  });
});

describe('the progress deadline', () => {
  it('makes a rollout that foreign trouble holds Stalled, with names, and no longer when it goes on', () => {
    const world = aFleet(3, { maxUnavailable: '1', soak: '0s', progressDeadline: '10m' });
    world.setReady('worker-03', false);
    world.settle();
    expect(world.condition('Progressing')?.reason).toBe('WaitingForSlot');
    world.nowMs += 11 * MINUTE_MS;
    world.settle();
    expect(world.condition('Progressing')).toMatchObject({ status: 'False', reason: 'Stalled' });
    expect(world.condition('Progressing')?.message).toContain('worker-03');
    world.settle();
    expect(world.condition('Progressing')?.reason).toBe('Stalled');
    world.setReady('worker-03', true);
    world.settle();
    expect(world.condition('Available')?.status).toBe('True');
    expect(world.condition('Progressing')?.reason).toBe('Complete');
  });

  it('counts anew from an edit and from the end of a pause', () => {
    const world = aFleet(2, { maxUnavailable: '1', soak: '0s', progressDeadline: '10m' });
    world.settle();
    world.nowMs += HOUR_MS;
    world.setReady('worker-02', false);
    const rollout = { maxUnavailable: '1', soak: '0s', progressDeadline: '10m' };
    world.edit({ runtimes: [{ name: 'qemu' }], rollout: { ...rollout, paused: true } });
    world.settle();
    expect(world.condition('Progressing')?.reason).toBe('Paused');
    world.nowMs += HOUR_MS;
    world.edit({ runtimes: [{ name: 'qemu' }], rollout });
    world.settle();
    expect(world.condition('Progressing')?.reason).toBe('WaitingForSlot');
    world.nowMs += 11 * MINUTE_MS;
    world.settle();
    expect(world.condition('Progressing')?.reason).toBe('Stalled');
  });
});
