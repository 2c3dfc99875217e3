/** Many nodes, and what goes wrong on them over days: budgets, repairs, reboots, returning nodes. */
import { describe, expect, it } from 'vitest';
import { ANNOTATION, LABEL } from '../../../src/crds/names.ts';
import { ALL_AT_ONCE, aWorld, badResult, WITHOUT_KVM, World } from './support/world.ts';

const MINUTE_MS = 60_000;

/** Lets time pass in steps, and the cluster work in each. */
function pass(world: World, forMs: number, stepMs = 5_000): void {
  const untilMs = world.nowMs + forMs;
  while (world.nowMs < untilMs) {
    world.reconcile();
    world.playCluster();
    world.nowMs += stepMs;
  }
}

function claims(world: World): string[] {
  return [...world.nodes.keys()].map((node) => world.labels(node)[LABEL.claim] ?? '');
}

function podsMade(world: World): Set<string> {
  return new Set(world.pods.keys());
}

describe('budgets', () => {
  it('clean no more nodes at once than they let install', () => {
    const world = aWorld(20, { rollout: { maxParallel: '3', maxUnavailable: '2' } });
    world.settle();
    world.delete();
    let most = 0;
    for (let round = 0; round < 200 && world.deployment !== undefined; round += 1) {
      world.reconcile();
      const cleaned = claims(world).filter((claim) => claim === 'kata.remove').length;
      most = Math.max(most, cleaned);
      world.playCluster();
      world.nowMs += 1_000;
    }
    expect(most).toBe(2);
    expect(world.deployment).toBeUndefined();
  });

  it('hold nodes that leave the selection while paused, but not a deletion', () => {
    const world = aWorld(3, { rollout: { maxParallel: '3', maxUnavailable: '3' } });
    world.settle();
    const before = claims(world);
    world.edit({ nodes: { selector: { matchLabels: { tpyo: 'x' } } }, rollout: { paused: true } });
    world.settle();
    expect(claims(world)).toEqual(before);
    expect(world.labels('worker-1')[LABEL.kataRuntime]).toBe('true');
    world.delete();
    world.settle();
    expect(world.deployment).toBeUndefined();
  });

  it('hold repairs as they hold installs', () => {
    const world = aWorld(20, { rollout: { maxParallel: '2', maxUnavailable: '2' } });
    world.settle();
    world.nowMs += 3 * MINUTE_MS;
    for (const [name, pod] of world.pods)
      world.pods.set(name, { ...pod, unreadySinceMs: world.nowMs - MINUTE_MS });
    world.reconcile();
    expect([...world.pods.values()].filter(({ deleting }) => deleting)).toHaveLength(2);
    world.settle();
    for (const node of world.nodes.keys()) expect(world.phase(node)).toBe('Ready');
  });

  it('stay spent while nodes that failed are tried again', () => {
    const world = aWorld(20, {
      rollout: { ...ALL_AT_ONCE, maxParallel: '2', maxUnavailable: '2', failureBudget: 1 },
    });
    world.behaviour = (_node, stage) =>
      stage === 'stage'
        ? badResult('refused', 'KATA_E_ARTIFACT_FETCH', { url: 'https://x', cause: 'refused' })
        : undefined;
    world.settle();
    expect(world.kataNodes.size).toBe(2);
    pass(world, 10 * MINUTE_MS);
    expect(world.kataNodes.size).toBe(2);
    expect(world.condition('Degraded')?.reason).toBe('FailureBudgetExhausted');
    for (const node of world.kataNodes.keys())
      world.annotateKataNode(node, { [ANNOTATION.retry]: 'fixed' });
    world.behaviour = () => undefined;
    pass(world, 5 * MINUTE_MS);
    expect(world.phase('worker-1')).toBe('Ready');
    expect(world.condition('Available')?.status).toBe('True');
  });
});

describe('repairing', () => {
  function withoutHandlers(world: World): void {
    Object.assign(world.nodes.get('worker-1')?.['status'] ?? {}, {
      runtimeHandlers: [{ name: 'runc' }],
    });
  }

  it('runs the transaction once more, to its end, when the engine no longer serves a handler', () => {
    const world = aWorld(1);
    world.settle();
    withoutHandlers(world);
    pass(world, 4 * MINUTE_MS);
    expect(podsMade(world).size).toBe(1);
    const [first] = podsMade(world);
    pass(world, 2 * MINUTE_MS);
    const [second] = world.pods.values();
    expect(second?.name).not.toBe(first);
    expect(Object.keys(second?.stages ?? {})).toHaveLength(3);
    expect(world.phase('worker-1')).toBe('Ready');
  });

  it('becomes rarer when it does not hold, and then says so', () => {
    const world = aWorld(1);
    world.settle();
    withoutHandlers(world);
    const seen = new Set<string>();
    const untilMs = world.nowMs + 3 * 60 * MINUTE_MS;
    while (world.nowMs < untilMs) {
      pass(world, MINUTE_MS, 10_000);
      for (const name of podsMade(world)) seen.add(name);
    }
    // After 5, 10, 20, 40 and 60 minutes: the first Pod and at most five more.
    expect(seen.size).toBeLessThanOrEqual(6);
    expect(seen.size).toBeGreaterThanOrEqual(4);
    expect(world.condition('Degraded')).toMatchObject({
      status: 'True',
      reason: 'RepairDoesNotHold',
    });
  });

  it('takes the result of a Pod that kubelet has run again after a reboot', () => {
    const world = aWorld(1);
    world.settle();
    const [pod] = world.pods.values();
    if (pod === undefined) throw new Error('no Pod');
    world.pods.set(pod.name, { ...pod, stages: {} });
    world.behaviour = (_node, stage) => (stage === 'preflight' ? WITHOUT_KVM : undefined);
    world.settle();
    expect(world.phase('worker-1')).toBe('Unsupported');
    expect(world.labels('worker-1')).toEqual({ [LABEL.kvm]: 'false' });
  });

  it('does not count Pods that were evicted as attempts', () => {
    const world = aWorld(1);
    world.settle();
    for (let turn = 0; turn < 4; turn += 1) {
      world.pods.clear();
      world.settle();
    }
    expect(world.kataNode('worker-1')?.status?.attempts).toBe(1);
  });
});

describe('a slow node', () => {
  it('is given nodeTimeout from its last report, not from its claim', () => {
    const world = aWorld(1, { rollout: { nodeTimeout: '10m' } });
    world.behaviour = (_node, stage) => (stage === 'preflight' ? undefined : 'hang');
    pass(world, 9 * MINUTE_MS);
    world.behaviour = (_node, stage) => (stage === 'activate' ? 'hang' : undefined);
    pass(world, 9 * MINUTE_MS);
    expect(world.phase('worker-1')).toBe('Staged');
    pass(world, 2 * MINUTE_MS);
    expect(world.kataNode('worker-1')?.status?.error?.reason).toBe('NodeTimeout');
  });

  it('is not interrupted by a retry while its Pod works', () => {
    const world = aWorld(1, { rollout: { nodeTimeout: '5m' } });
    world.behaviour = () => 'hang';
    world.settle();
    const pods = [...podsMade(world)];
    pass(world, 60 * MINUTE_MS);
    expect([...podsMade(world)]).toEqual(pods);
    world.behaviour = () => undefined;
    world.settle();
    expect(world.phase('worker-1')).toBe('Ready');
  });

  it('is let finish before it is cleaned or given another revision', () => {
    const world = aWorld(1);
    world.behaviour = (_node, stage) => (stage === 'preflight' ? undefined : 'hang');
    world.settle();
    const claim = world.labels('worker-1')[LABEL.claim];
    world.edit({ runtimes: [{ name: 'qemu' }] });
    world.settle();
    expect(world.labels('worker-1')[LABEL.claim]).toBe(claim);
    world.delete();
    world.settle();
    expect(world.labels('worker-1')[LABEL.claim]).toBe(claim);
    world.behaviour = () => undefined;
    world.settle();
    expect(world.deployment).toBeUndefined();
  });

  it('without a Pod at all is tried again three times, not for ever', () => {
    const world = aWorld(1, { rollout: { nodeTimeout: '1m' } });
    world.deaf = true;
    world.reconcile();
    let writes = 0;
    for (let minute = 0; minute < 60; minute += 1) {
      world.deaf = true;
      pass(world, MINUTE_MS);
      world.deaf = true;
    }
    writes = world.writes.length;
    expect(world.kataNode('worker-1')?.status?.attempts).toBeLessThanOrEqual(3);
    expect(writes).toBeLessThan(600);
  });
});

describe('a retry', () => {
  it('is not lost by a controller that dies before it has deleted the Pod', () => {
    const world = aWorld(1);
    world.behaviour = (_node, stage) =>
      stage === 'preflight' ? badResult('refused', 'KATA_E_ENGINE_CONFIG_INVALID') : undefined;
    world.settle();
    world.behaviour = () => undefined;
    world.annotateKataNode('worker-1', { [ANNOTATION.retry]: 'now' });
    world.reconcile(1);
    world.settle();
    expect(world.phase('worker-1')).toBe('Ready');
  });
});

describe('a node that cannot run our Pods', () => {
  it.each([
    ['another system', { os: 'windows' }, 'runs windows'],
    [
      'a taint that is not tolerated',
      { taints: [{ key: 'gpu', value: 'yes', effect: 'NoSchedule' }] },
      'gpu=yes:NoSchedule',
    ],
  ])('because of %s is left out, with the reason, and fails nobody', (_what, options, reason) => {
    const world = aWorld(1);
    world.addNode('odd', options);
    world.settle();
    expect(world.labels('odd')[LABEL.claim]).toBeUndefined();
    expect(world.condition('Available')).toMatchObject({ status: 'True' });
    expect(world.condition('Available')?.message).toContain(reason);
  });

  it('is taken in when its taint is tolerated', () => {
    const world = aWorld(1, { nodes: { tolerations: [{ key: 'gpu', operator: 'Exists' }] } });
    world.addNode('odd', { taints: [{ key: 'gpu', effect: 'NoSchedule' }] });
    world.settle();
    expect(world.phase('odd')).toBe('Ready');
  });

  describe('with the startup taint', () => {
    const startupTaint = { key: 'example.com/kata', effect: 'NoSchedule' };
    const taints = [
      { key: 'gpu', effect: 'PreferNoSchedule' },
      { key: 'example.com/kata', value: 'starting', effect: 'NoSchedule' },
    ];

    it('loses it, and no other, when it is Ready and says so by its labels', () => {
      const world = aWorld(0, { nodes: { startupTaint } });
      world.addNode('worker-1', { taints });
      for (let round = 0; round < 30; round += 1) {
        world.reconcile();
        const [node] = world.nodeViews();
        if (node?.taints.length === 1) {
          expect(world.phase('worker-1')).toBe('Ready');
          expect(world.labels('worker-1')[LABEL.kataRuntime]).toBe('true');
        }
        world.playCluster();
        world.nowMs += 1_000;
      }
      expect(world.nodeViews()[0]?.taints.map(({ key }) => key)).toEqual(['gpu']);
    });

    it('keeps it when Kata cannot run there', () => {
      const world = aWorld(0, { nodes: { startupTaint } });
      world.addNode('worker-1', { taints });
      world.behaviour = () => WITHOUT_KVM;
      world.settle();
      expect(world.nodeViews()[0]?.taints).toHaveLength(2);
    });
  });

  it('is no reason to write to a DaemonSet twice, but changed tolerations are', () => {
    const world = aWorld(1);
    world.settle();
    const [before] = world.daemonSets.values();
    world.edit({ nodes: { tolerations: [{ key: 'gpu', operator: 'Exists' }] } });
    world.settle();
    const [after] = world.daemonSets.values();
    expect(after?.name).toBe(before?.name);
    expect(after?.content).not.toEqual(before?.content);
    expect(world.reconcile()).toBe(0);
  });
});

describe('coming and going', () => {
  it('finishes a removal that has begun, and takes the node in again when it is selected again', () => {
    const world = aWorld(1, { nodes: { selector: { matchLabels: { kata: 'yes' } } } });
    world.addNode('worker-2', { labels: { kata: 'yes' } });
    world.settle();
    world.behaviour = (_node, stage) => (stage === 'remove' ? 'hang' : undefined);
    world.edit({ nodes: { selector: { matchLabels: { kata: 'no' } } } });
    world.settle();
    expect(world.labels('worker-2')[LABEL.claim]).toBe('kata.remove');
    world.edit({ nodes: { selector: { matchLabels: { kata: 'yes' } } } });
    world.settle();
    world.behaviour = () => undefined;
    world.settle();
    expect(world.phase('worker-2')).toBe('Ready');
    expect(world.condition('Available')?.status).toBe('True');
  });

  it('cleans a node that was Ready once although KVM is gone now', () => {
    const world = aWorld(1);
    world.settle();
    world.behaviour = (_node, stage) => (stage === 'preflight' ? WITHOUT_KVM : undefined);
    world.edit({ runtimes: [{ name: 'qemu' }] });
    world.settle();
    expect(world.phase('worker-1')).toBe('Unsupported');
    expect(world.labels('worker-1')).toEqual({ [LABEL.kvm]: 'false' });
    const cleaned: string[] = [];
    world.behaviour = (node, stage) => {
      if (stage === 'remove') cleaned.push(node);
      return undefined;
    };
    world.delete();
    world.settle();
    expect(cleaned).toEqual(['worker-1']);
    expect(world.deployment).toBeUndefined();
  });

  it.each([
    [
      'after a reboot, when kubelet ran the same Pod again',
      (world: World): void => {
        for (const [name, pod] of world.pods) world.pods.set(name, { ...pod, stages: {} });
      },
    ],
    [
      'in a later attempt at the same revision',
      (world: World): void => {
        world.annotateKataNode('worker-1', { [ANNOTATION.retry]: 'look-again' });
      },
    ],
  ])('cleans a node that lost KVM %s', (_when, again) => {
    const world = aWorld(1);
    world.settle();
    world.behaviour = (_node, stage) => (stage === 'preflight' ? WITHOUT_KVM : undefined);
    again(world);
    world.settle();
    expect(world.phase('worker-1')).toBe('Unsupported');
    world.behaviour = () => undefined;
    world.delete();
    world.settle();
    expect([...world.installed]).toEqual([]);
    expect(world.deployment).toBeUndefined();
  });

  it('sends no Pod to clean a node that never could run Kata', () => {
    const world = aWorld(1);
    world.behaviour = (_node, stage) => (stage === 'preflight' ? WITHOUT_KVM : 'hang');
    world.settle();
    world.delete();
    world.settle();
    expect(world.deployment).toBeUndefined();
  });

  it('cleans a node that the artifacts turned out to be wrong for', () => {
    const world = aWorld(1);
    world.behaviour = (_node, stage) =>
      stage === 'stage' ? badResult('unsupported', 'KATA_E_ARCHITECTURE') : undefined;
    world.settle();
    expect(world.phase('worker-1')).toBe('Unsupported');
    world.behaviour = () => undefined;
    world.delete();
    world.settle();
    expect([...world.installed]).toEqual([]);
  });

  it('cleans nodes although somebody has deleted their KataNodes', () => {
    const world = aWorld(2);
    world.settle();
    world.delete();
    world.kataNodes.clear();
    const cleaned: string[] = [];
    world.behaviour = (node, stage) => {
      if (stage === 'remove') cleaned.push(node);
      return undefined;
    };
    world.settle();
    expect(cleaned.sort()).toEqual(['worker-1', 'worker-2']);
    expect(world.deployment).toBeUndefined();
  });

  it('takes a node whose KataDeployment does not exist any more', () => {
    const world = aWorld(1);
    world.addNode('left-behind', { labels: { [LABEL.claim]: 'gone.abc' } });
    world.settle();
    expect(world.phase('left-behind')).toBe('Ready');
  });

  it('records what nodes that leave have done while an edit is refused', () => {
    const world = aWorld(1);
    world.addNode('leaving', { labels: { kata: 'yes' } });
    world.settle();
    world.behaviour = (_node, stage) => (stage === 'remove' ? 'hang' : undefined);
    world.edit({
      nodes: { selector: { matchExpressions: [{ key: 'kata', operator: 'DoesNotExist' }] } },
    });
    world.settle();
    world.edit({ runtimes: [{ name: 'nonsense' }] });
    world.behaviour = () => undefined;
    world.settle();
    expect(world.kataNode('leaving')).toBeUndefined();
    expect(world.labels('leaving')).toEqual({ kata: 'yes' });
  });

  it('is not Available just after an edit, however young the nodes are', () => {
    const world = new World();
    world.addNode('young', { createdAtMs: world.nowMs });
    world.settle();
    expect(world.condition('Available')?.status).toBe('True');
    world.edit({ runtimes: [{ name: 'qemu' }] });
    world.reconcile();
    expect(world.condition('Available')?.status).toBe('False');
    world.settle();
    expect(world.condition('Available')?.status).toBe('True');
  });

  it('says so when all nodes that wait are not Ready, or belong to others', () => {
    const silent = new World();
    silent.addNode('silent', { ready: false });
    silent.settle();
    expect(silent.condition('Progressing')).toMatchObject({ reason: 'NodesNotReady' });
    const taken = new World();
    taken.addNode('taken', { labels: { [LABEL.claim]: 'other.abc' } });
    taken.settle();
    expect(taken.condition('Available')).toMatchObject({ reason: 'NoUsableNodes' });
    expect(taken.condition('Degraded')?.message).toContain('other');
  });

  it('advises to delete no class of another KataDeployment', () => {
    const world = aWorld(1);
    world.runtimeClasses.set('kata-fc', {
      name: 'kata-fc',
      uid: 'x',
      resourceVersion: '1',
      deleting: false,
      labels: { [LABEL.deployment]: 'other' },
      content: 'theirs',
    });
    world.settle();
    const { message } = world.condition('Degraded') ?? {};
    expect(message).toContain('belongs to KataDeployment other');
    expect(message).not.toContain('Delete');
  });
});
