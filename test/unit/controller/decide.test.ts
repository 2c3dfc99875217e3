import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalQuantity } from '../../../src/controller/runtimeclass/quantity.ts';
import { ANNOTATION, FINALIZER, LABEL } from '../../../src/crds/names.ts';
import { ALL_AT_ONCE, aWorld, badResult, START_MS, WITHOUT_KVM, World } from './support/world.ts';

const KATA_LABELS = /kata/;

function everythingIsGone(world: World): void {
  expect(world.deployment).toBeUndefined();
  expect([...world.kataNodes.keys()]).toEqual([]);
  expect([...world.pods.keys()]).toEqual([]);
  expect([
    ...world.configMaps.keys(),
    ...world.daemonSets.keys(),
    ...world.runtimeClasses.keys(),
  ]).toEqual([]);
  for (const node of world.nodes.keys()) {
    expect(Object.keys(world.labels(node)).filter((key) => KATA_LABELS.test(key))).toEqual([]);
  }
}

describe('installing', () => {
  it('brings every selected node to Ready and becomes Available', () => {
    const world = aWorld(3);
    world.settle();
    expect([...world.nodes.keys()].map((node) => world.phase(node))).toEqual([
      'Ready',
      'Ready',
      'Ready',
    ]);
    expect(world.condition('Available')).toMatchObject({ status: 'True', reason: 'AllNodesReady' });
    expect(world.condition('Degraded')?.status).toBe('False');
    expect(world.labels('worker-1')).toMatchObject({
      [LABEL.kataRuntime]: 'true',
      [LABEL.kvm]: 'true',
      'runtime.kata-operator.dev/kata-fc': 'true',
    });
  });

  it('puts the finalizer on before anything else is written', () => {
    const world = aWorld(1);
    world.reconcile();
    expect(world.deployment?.finalizers).toEqual([FINALIZER]);
    expect(world.writes).toHaveLength(1);
  });

  it('claims no node before the DaemonSet controller knows the DaemonSet', () => {
    const world = aWorld(1);
    for (let round = 0; round < 5; round += 1) world.reconcile();
    expect(world.daemonSets.size).toBe(1);
    expect(world.labels('worker-1')[LABEL.claim]).toBeUndefined();
    world.playCluster();
    world.reconcile();
    expect(world.labels('worker-1')[LABEL.claim]).toBeDefined();
  });

  it('touches a DaemonSet whose controller has missed a node', () => {
    const world = aWorld(1);
    world.deaf = true;
    world.settle();
    expect(world.pods.size).toBe(0);
    world.nowMs += 21_000;
    world.settle();
    expect(world.phase('worker-1')).toBe('Ready');
    world.delete();
    world.deaf = true;
    world.settle();
    world.nowMs += 21_000;
    world.settle();
    everythingIsGone(world);
  });

  it('waits with a claim until an ending Pod of the same name is gone', () => {
    const world = aWorld(1);
    world.settle();
    const [ending] = world.pods.values();
    world.nodes.delete('worker-1');
    world.settle();
    world.addNode('worker-1');
    if (ending !== undefined) world.pods.set(ending.name, { ...ending, deleting: true });
    world.reconcile();
    expect(world.labels('worker-1')[LABEL.claim]).toBeUndefined();
    world.pods.clear();
    world.settle();
    expect(world.phase('worker-1')).toBe('Ready');
  });

  it('writes at most four times per node', () => {
    const world = aWorld(5, { rollout: { maxParallel: '5', maxUnavailable: '5' } });
    world.settle();
    for (const node of world.nodes.keys()) {
      const about = world.writes.filter(
        (write) => write.verb === 'apply' && write.object.metadata.name === node,
      );
      expect(about.length, node).toBeLessThanOrEqual(4);
    }
  });

  it('writes nothing once everything is as wanted', () => {
    const world = aWorld(2);
    world.settle();
    world.nowMs += 600_000;
    expect(world.reconcile()).toBe(0);
  });

  it('creates RuntimeClasses before any node is Ready', () => {
    const world = aWorld(1);
    world.behaviour = () => 'hang';
    world.settle();
    expect([...world.runtimeClasses.keys()].sort()).toEqual(['kata-clh', 'kata-fc', 'kata-qemu']);
    expect(world.condition('Available')?.status).toBe('False');
  });

  it('never works on more nodes than maxParallel and maxUnavailable allow', () => {
    const world = aWorld(20, {
      rollout: { ...ALL_AT_ONCE, maxParallel: '3', maxUnavailable: '2' },
    });
    let most = 0;
    for (let round = 0; round < 100; round += 1) {
      world.reconcile();
      const claimed = [...world.nodes.keys()].filter(
        (node) => world.labels(node)[LABEL.claim] !== undefined,
      );
      most = Math.max(most, claimed.filter((node) => world.phase(node) !== 'Ready').length);
      world.playCluster();
      world.nowMs += 1_000;
    }
    expect(most).toBe(2);
    expect(world.condition('Available')?.status).toBe('True');
  });

  it('leaves a node that is unavailable for other reasons its place in the budget', () => {
    const world = aWorld(2, { rollout: { maxUnavailable: '1' } });
    world.addNode('worker-3', { ready: false });
    world.settle();
    expect(world.phase('worker-1')).toBeUndefined();
    expect(world.condition('Progressing')).toMatchObject({
      status: 'False',
      reason: 'WaitingForSlot',
    });
    expect(world.condition('Progressing')?.message).toContain('worker-3');
  });

  it('does not touch control-plane nodes unless asked', () => {
    const world = aWorld(1);
    world.addNode('control', { labels: { 'node-role.kubernetes.io/control-plane': '' } });
    world.settle();
    expect(world.labels('control')[LABEL.claim]).toBeUndefined();
    world.edit({ nodes: { excludeControlPlane: false } });
    world.settle();
    expect(world.phase('control')).toBe('Ready');
  });

  it('pauses at once and goes on when resumed', () => {
    const world = aWorld(2, { rollout: { paused: true } });
    world.settle();
    expect(world.kataNodes.size).toBe(0);
    expect(world.condition('Progressing')).toMatchObject({ status: 'False', reason: 'Paused' });
    world.edit({});
    world.settle();
    expect(world.condition('Available')?.status).toBe('True');
  });
});

describe('failing', () => {
  it('reports a node whose engine refused the configuration, with the remedy, and keeps it unadvertised', () => {
    const world = aWorld(1);
    world.behaviour = (_node, stage) =>
      stage === 'activate'
        ? badResult('refused', 'KATA_E_ENGINE_REJECTED_CONFIG', {
            engine: 'containerd 1.7.24',
            cause: 'line 41',
            file: '/etc/containerd/config.toml',
          })
        : undefined;
    world.settle();
    expect(world.phase('worker-1')).toBe('Failed');
    expect(world.labels('worker-1')[LABEL.kataRuntime]).toBeUndefined();
    expect(world.condition('Degraded')).toMatchObject({ status: 'True', reason: 'NodesFailed' });
    expect(world.condition('Degraded')?.message).toMatch(
      /worker-1.*containerd 1\.7\.24.*Next: Correct \/etc\/containerd\/config.toml/s,
    );
    expect(world.events.map(({ reason }) => reason)).toContain('EngineRejectedConfig');
  });

  it('stops claiming when the failure budget is spent, and says how to go on', () => {
    const world = aWorld(10, {
      rollout: { ...ALL_AT_ONCE, maxParallel: '1', failureBudget: 1 },
    });
    world.behaviour = (_node, stage) =>
      stage === 'activate' ? badResult('rolledBack', 'KATA_E_ENGINE_REJECTED_CONFIG') : undefined;
    world.settle();
    expect([...world.kataNodes.keys()]).toEqual(['worker-1', 'worker-10']);
    expect(world.condition('Degraded')?.reason).toBe('FailureBudgetExhausted');
    expect(world.condition('Degraded')?.message).toContain('raise rollout.failureBudget');
  });

  it('does not count a node without KVM as a failure, lets it go, and leaves it alone until it is rebooted', () => {
    const world = aWorld(2);
    world.behaviour = (node, stage) =>
      node === 'worker-1' && stage === 'preflight' ? WITHOUT_KVM : undefined;
    world.settle();
    expect(world.phase('worker-1')).toBe('Unsupported');
    expect(world.labels('worker-1')).toEqual({ [LABEL.kvm]: 'false' });
    expect(world.condition('Available')?.status).toBe('True');
    const writes = world.writes.length;
    world.nowMs += 3_600_000;
    world.settle();
    expect(world.writes.length).toBe(writes);

    world.behaviour = () => undefined;
    const labels = world.labels('worker-1');
    const uid = world.nodes.get('worker-1')?.metadata.uid ?? '';
    world.addNode('worker-1', { bootId: 'boot-2', labels });
    Object.assign(world.nodes.get('worker-1')?.metadata ?? {}, { uid });
    world.settle();
    expect(world.phase('worker-1')).toBe('Ready');
  });

  it('gives a node without KVM no old claim back while a new revision waits', () => {
    const world = aWorld(1);
    world.behaviour = () => WITHOUT_KVM;
    world.settle();
    world.edit({ runtimes: [{ name: 'fc' }], rollout: { paused: true } });
    world.settle();
    expect(world.labels('worker-1')[LABEL.claim]).toBeUndefined();
    expect(world.pods.size).toBe(0);
  });

  it('takes a node without KVM in when a person asks and KVM works, however long its Pod takes', () => {
    const world = aWorld(1);
    world.behaviour = () => WITHOUT_KVM;
    world.settle();
    world.behaviour = () => 'hang';
    world.annotateKataNode('worker-1', { [ANNOTATION.retry]: 'kvm-is-back' });
    world.settle();
    expect(world.labels('worker-1')[LABEL.claim]).toBeDefined();
    expect(world.pods.size).toBe(1);
    world.behaviour = () => undefined;
    world.settle();
    expect(world.phase('worker-1')).toBe('Ready');
    expect(world.labels('worker-1')[LABEL.kvm]).toBe('true');
  });

  it('gives up on a node that says nothing for nodeTimeout, and takes its result when it comes after all', () => {
    const world = aWorld(1, { rollout: { nodeTimeout: '5m' } });
    world.behaviour = () => 'hang';
    world.settle();
    world.nowMs += 301_000;
    world.settle();
    expect(world.phase('worker-1')).toBe('Failed');
    expect(world.kataNode('worker-1')?.status?.error).toMatchObject({
      reason: 'NodeTimeout',
      message: expect.stringMatching(
        /has not ended its first step: kubectl .* describe pod /,
      ) as string,
    });
    world.behaviour = () => undefined;
    world.settle();
    expect(world.phase('worker-1')).toBe('Ready');
  });

  it('tries again by itself what may pass, after a pause and not for ever', () => {
    const world = aWorld(1);
    let tries = 0;
    world.behaviour = (_node, stage) => {
      if (stage !== 'stage') return undefined;
      tries += 1;
      return badResult('refused', 'KATA_E_ARTIFACT_FETCH', { url: 'https://x', cause: 'refused' });
    };
    world.settle();
    expect(tries).toBe(1);
    world.nowMs += 29_000;
    world.settle();
    for (let minute = 0; minute < 30; minute += 1) {
      world.nowMs += 60_000;
      world.settle();
    }
    expect(tries).toBe(3);
    expect(world.kataNode('worker-1')?.status?.attempts).toBe(3);
  });

  it('tries again when the KataNode is annotated, once per value', () => {
    const world = aWorld(1);
    world.behaviour = (_node, stage) =>
      stage === 'preflight' ? badResult('refused', 'KATA_E_ENGINE_CONFIG_INVALID') : undefined;
    world.settle();
    world.behaviour = () => undefined;
    world.settle();
    expect(world.phase('worker-1')).toBe('Failed');
    world.annotateKataNode('worker-1', { [ANNOTATION.retry]: 'now' });
    world.settle();
    expect(world.phase('worker-1')).toBe('Ready');
    expect(world.kataNode('worker-1')?.status?.attempts).toBe(2);
  });

  it('says within moments why the Pod on a node cannot start', () => {
    const world = aWorld(1);
    world.behaviour = () => 'hang';
    world.settle();
    for (const [name, pod] of world.pods) {
      world.pods.set(name, { ...pod, waiting: 'ErrImagePull: not found' });
    }
    world.reconcile();
    expect(world.condition('Progressing')?.message).toContain(
      'worker-1 cannot start: ErrImagePull',
    );
  });

  it('never takes a missing or foreign message for success', () => {
    const world = aWorld(1);
    world.behaviour = () => 'hang';
    world.settle();
    for (const [name, pod] of world.pods) {
      world.pods.set(name, {
        ...pod,
        stages: { preflight: { kind: 'unknown', cause: 'not JSON: Killed' } },
      });
    }
    world.reconcile();
    expect(world.phase('worker-1')).toBe('Failed');
    expect(world.kataNode('worker-1')?.status?.error?.reason).toBe('ResultUnknown');
  });
});

describe('a specification that cannot be acted on', () => {
  it.each([
    [
      'an unknown runtime name',
      { runtimes: [{ name: 'firecraker' }] },
      'UnknownRuntime',
      /firecraker/,
    ],
    [
      'a field of a later version',
      { runtimes: [{ name: 'qemu' }], rollout: { drain: { enabled: true } } },
      'NotImplemented',
      /drain/,
    ],
  ])('names the field for %s and touches no node', (_what, spec, reason, message) => {
    const world = aWorld(2, spec);
    world.settle();
    expect(world.kataNodes.size).toBe(0);
    expect(world.condition('Degraded')).toMatchObject({ status: 'True', reason });
    expect(world.condition('Degraded')?.message).toMatch(message);
    expect(world.condition('Available')?.status).toBe('False');
  });

  it('follows what is under way on a node to its end when an edit is refused', () => {
    const world = aWorld(1);
    world.behaviour = () => 'hang';
    world.settle();
    world.edit({ runtimes: [{ name: 'nonsense' }] });
    world.behaviour = () => undefined;
    world.settle();
    expect(world.phase('worker-1')).toBe('Ready');
    expect(world.labels('worker-1')[LABEL.kataRuntime]).toBe('true');
    expect(world.condition('Available')).toMatchObject({
      status: 'False',
      reason: 'UnknownRuntime',
    });
  });

  it('keeps what nodes have when an edit is refused', () => {
    const world = aWorld(2);
    world.settle();
    world.edit({ runtimes: [{ name: 'nonsense' }] });
    world.settle();
    expect(world.labels('worker-1')[LABEL.kataRuntime]).toBe('true');
    expect(world.runtimeClasses.size).toBe(3);
  });
});

describe('changing', () => {
  it('moves nodes to the new revision and collects the old one', () => {
    const world = aWorld(3);
    world.settle();
    const before = world.kataNode('worker-1')?.status?.revision;
    world.edit({ runtimes: [{ name: 'qemu' }, { name: 'clh' }, { name: 'fc' }] });
    world.settle();
    const after = world.kataNode('worker-1')?.status;
    expect(after?.revision).not.toBe(before);
    expect(after?.previousRevision).toBe(before);
    expect(world.daemonSets.size).toBe(1);
    expect(world.condition('Available')).toMatchObject({ status: 'True' });
  });

  it('touches no node when only a class changes', () => {
    const runtime = { name: 'fc' };
    const world = aWorld(1, { runtimes: [runtime] });
    world.settle();
    const revision = world.kataNode('worker-1')?.status?.revision;
    world.edit({ runtimes: [{ ...runtime, runtimeClass: { overhead: { memory: '200Mi' } } }] });
    world.settle();
    expect(world.kataNode('worker-1')?.status?.revision).toBe(revision);
    expect(world.runtimeClasses.get('kata-fc')?.content).toMatchObject({
      overhead: { memory: canonicalQuantity('200Mi') },
    });
  });

  it('keeps Available true for a node that has just joined, until nodeTimeout', () => {
    const world = aWorld(1);
    world.settle();
    world.behaviour = (node) => (node === 'new' ? 'hang' : undefined);
    world.addNode('new', { createdAtMs: world.nowMs });
    world.settle();
    expect(world.condition('Available')?.status).toBe('True');
    world.nowMs += 601_000;
    world.settle();
    expect(world.condition('Available')?.status).toBe('False');
  });

  it('starts anew on a node that was made again under the same name', () => {
    const world = aWorld(1);
    world.settle();
    const uid = world.kataNode('worker-1')?.spec.nodeUID;
    world.nodes.delete('worker-1');
    world.addNode('worker-1');
    world.settle();
    expect(world.kataNode('worker-1')?.spec.nodeUID).not.toBe(uid);
    expect(world.phase('worker-1')).toBe('Ready');
  });

  it('forgets a node that has vanished', () => {
    const world = aWorld(2);
    world.settle();
    world.nodes.delete('worker-1');
    world.settle();
    expect([...world.kataNodes.keys()]).toEqual(['worker-2']);
    expect(world.condition('Available')?.status).toBe('True');
  });

  it('keeps a verified node Ready while its evicted Pod comes back', () => {
    const world = aWorld(1);
    world.settle();
    world.pods.clear();
    world.behaviour = () => 'hang';
    world.settle();
    world.nowMs += 3_600_000;
    world.settle();
    expect(world.phase('worker-1')).toBe('Ready');
  });

  it('leaves a node that another KataDeployment has, and says so', () => {
    const world = aWorld(1);
    world.addNode('taken', { labels: { [LABEL.claim]: 'other.abc' } });
    world.settle();
    expect(world.labels('taken')[LABEL.claim]).toBe('other.abc');
    expect(world.condition('Degraded')).toMatchObject({ status: 'True', reason: 'NodeConflict' });
  });

  it('leaves a RuntimeClass of the same name that is not ours, and says so', () => {
    const world = aWorld(1);
    world.runtimeClasses.set('kata-fc', {
      name: 'kata-fc',
      uid: 'x',
      resourceVersion: '1',
      deleting: false,
      labels: {},
      content: 'theirs',
    });
    world.settle();
    expect(world.runtimeClasses.get('kata-fc')?.content).toBe('theirs');
    expect(world.condition('Degraded')?.reason).toBe('RuntimeClassConflict');
  });
});

describe('taking away', () => {
  it('leaves nothing behind', () => {
    const world = aWorld(3);
    world.settle();
    world.delete();
    world.settle();
    everythingIsGone(world);
  });

  it('is over only when the last Pod of ours has ended', () => {
    const world = aWorld(2);
    world.settle();
    world.lingering = true;
    world.delete();
    world.settle();
    expect(world.daemonSets.size).toBe(0);
    expect(world.deployment?.finalizers).toEqual([FINALIZER]);
    expect(world.condition('Progressing')?.message).toContain(
      '4 Pods of the operator still to end',
    );
    world.lingering = false;
    world.settle();
    everythingIsGone(world);
  });

  it('does not wait for the Pod of a node that no longer answers', () => {
    const world = aWorld(1);
    world.settle();
    world.lingering = true;
    world.delete();
    world.settle();
    world.setReady('worker-1', false);
    world.settle();
    expect(world.deployment).toBeUndefined();
  });

  it('waits for Pods in sandboxes and names them', () => {
    const world = aWorld(2);
    world.settle();
    world.userPods.set('shop/cart', { className: 'kata-fc', node: 'worker-1' });
    world.delete();
    world.settle();
    expect(world.condition('Degraded')?.message).toContain('shop/cart');
    expect(world.labels('worker-1')['runtime.kata-operator.dev/kata-fc']).toBeUndefined();
    expect([...world.kataNodes.keys()]).toEqual(['worker-1']);
    world.userPods.clear();
    world.settle();
    everythingIsGone(world);
  });

  it.each(['true', 'false'])(
    'leaves katacontainers.io/kata-runtime=%s of another installer alone, writes nothing more because of it, and ends',
    (value) => {
      const label = { [LABEL.kataRuntime]: value };
      const world = new World();
      world.othersLabels = label;
      world.addNode('worker-1', { labels: label });
      world.settle();
      expect(world.phase('worker-1')).toBe('Ready');
      expect(world.labels('worker-1')).toMatchObject(label);
      expect(world.reconcile()).toBe(0);
      world.delete();
      world.settle();
      expect(world.deployment).toBeUndefined();
      expect(world.labels('worker-1')).toEqual(label);
    },
  );

  it('withdraws the handler labels before the node is cleaned', () => {
    const world = aWorld(1);
    world.settle();
    world.delete();
    world.reconcile();
    expect(world.labels('worker-1')['runtime.kata-operator.dev/kata-fc']).toBeUndefined();
    expect(world.labels('worker-1')[LABEL.claim]).not.toBe('kata.remove');
    world.playCluster();
    world.reconcile();
    expect(world.labels('worker-1')[LABEL.claim]).toBe('kata.remove');
  });

  it('cleans a node that leaves the selection and keeps the others', () => {
    const world = aWorld(1, { nodes: { selector: { matchLabels: { pool: 'kata' } } } });
    world.addNode('pooled', { labels: { pool: 'kata' } });
    world.settle();
    expect([...world.kataNodes.keys()]).toEqual(['pooled']);
    world.edit({ nodes: { selector: { matchLabels: { pool: 'other' } } } });
    world.settle();
    expect(world.kataNodes.size).toBe(0);
    expect(Object.keys(world.labels('pooled'))).toEqual(['pool']);
    expect(world.deployment).toBeDefined();
  });

  it('reports a node that cannot be cleaned, and ends when it is tried again with success', () => {
    const world = aWorld(1);
    world.settle();
    world.behaviour = (_node, stage) =>
      stage === 'remove'
        ? badResult('refused', 'KATA_E_CONFIG_EDITED', {
            file: '/etc/containerd/config.toml',
            cause: 'x',
          })
        : undefined;
    world.delete();
    world.settle();
    expect(world.condition('Degraded')).toMatchObject({ status: 'True', reason: 'NodesFailed' });
    world.behaviour = () => undefined;
    world.annotateKataNode('worker-1', { [ANNOTATION.retry]: 'again' });
    world.settle();
    everythingIsGone(world);
  });

  it('ends although the specification became unreadable', () => {
    const world = aWorld(1);
    world.settle();
    world.edit({ runtimes: 'nonsense' });
    world.delete();
    world.settle();
    everythingIsGone(world);
  });
});

describe('a controller that is killed', () => {
  it('reaches the same end state wherever its writes were cut off', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 60 }), (cuts) => {
        const world = aWorld(3);
        let turn = 0;
        const stopAfter = (): number => {
          const cut = cuts[turn];
          turn += 1;
          return cut === undefined ? Number.POSITIVE_INFINITY : cut + 1;
        };
        const steps: (() => void)[] = [
          () => undefined,
          () => {
            world.edit({ runtimes: [{ name: 'qemu' }] });
          },
          () => {
            world.annotateKataNode('worker-2', { [ANNOTATION.retry]: 'please' });
          },
          () => {
            world.addNode('worker-4', { labels: { away: 'soon' } });
          },
          () => {
            const gone = { matchExpressions: [{ key: 'away', operator: 'DoesNotExist' }] };
            world.edit({ runtimes: [{ name: 'qemu' }], nodes: { selector: gone } });
          },
        ];
        for (const step of steps) {
          turn = 0;
          step();
          world.settle({ stopAfter });
          for (const node of world.kataNodes.keys()) expect(world.phase(node)).toBe('Ready');
          expect(world.condition('Available')?.status).toBe('True');
        }
        expect([...world.kataNodes.keys()]).toEqual(['worker-1', 'worker-2', 'worker-3']);
        expect(world.kataNode('worker-2')?.spec.retryHandled).toBe('please');
        expect(world.labels('worker-4')).toEqual({ away: 'soon' });
        turn = 0;
        world.delete();
        world.settle({ stopAfter });
        everythingIsGone(world);
      }),
      { numRuns: 50 },
    );
  });

  it('reads the clock only as an argument: the same world gives the same decision', () => {
    const decisions = [aWorld(2), aWorld(2)].map((world) => {
      world.settle();
      return JSON.stringify(world.writes);
    });
    expect(decisions[0]).toBe(decisions[1]);
    expect(decisions[0]).toContain(new Date(START_MS + 2_000).toISOString());
  });
});
