/**
 * What holds of every rollout, whatever the fleet, the policy, the faults and the edits: the whole decision runs
 * against a small cluster in random histories. The oracle looks at the cluster alone and shares no code with the
 * policy.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANNOTATION } from '../../../src/crds/names.ts';
import { badResult, World, type Behaviour } from './support/world.ts';

const RUNS = 60;
const ROUNDS = 80;
const DEADLINE_MS = 10 * 60_000;
const ENDED = ['Ready', 'Failed', 'RolledBack', 'Unsupported', 'AwaitingRestart'];
const BAD = ['Failed', 'RolledBack'];

type Fate = 'succeed' | 'fail' | 'hang' | 'unsupported';

interface Act {
  readonly round: number;
  readonly node: number;
  readonly what:
    'down' | 'up' | 'pause' | 'resume' | 'edit' | 'join' | 'vanish' | 'crash' | 'retry' | 'skip';
}

interface Policy {
  readonly maxParallel: string;
  readonly maxUnavailable: string;
  readonly waves: readonly string[];
  readonly soak: string;
  readonly failureBudget: number;
}

const share = fc.oneof(
  fc.integer({ min: 1, max: 4 }).map(String),
  fc.constantFrom('10%', '34%', '100%'),
);
const policy: fc.Arbitrary<Policy> = fc.record({
  maxParallel: share,
  maxUnavailable: share,
  waves: fc.array(share, { minLength: 1, maxLength: 4 }),
  soak: fc.constantFrom('0s', '5s', '60s'),
  failureBudget: fc.integer({ min: 0, max: 2 }),
});
const fate: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Fate>('succeed') },
  { weight: 2, arbitrary: fc.constant<Fate>('fail') },
  { weight: 1, arbitrary: fc.constant<Fate>('hang') },
  { weight: 1, arbitrary: fc.constant<Fate>('unsupported') },
);
const act: fc.Arbitrary<Act> = fc.record({
  round: fc.integer({ min: 0, max: ROUNDS - 1 }),
  node: fc.integer({ min: 0, max: 7 }),
  what: fc.constantFrom<Act['what']>(
    'down',
    'up',
    'pause',
    'resume',
    'edit',
    'join',
    'vanish',
    'crash',
    'retry',
    'skip',
  ),
});

class History {
  readonly world: World;
  readonly #policy: Policy;
  readonly #fates: readonly Fate[];
  #runtimes = ['qemu'];
  #paused = false;
  #joined = 0;
  #stopAfter: number | undefined;

  constructor(nodes: number, wanted: Policy, fates: readonly Fate[]) {
    this.#policy = wanted;
    this.#fates = fates;
    this.world = new World(this.#spec());
    for (let index = 0; index < nodes; index += 1) this.world.addNode(`node-${String(index)}`);
    this.world.behaviour = this.#behaviour;
  }

  step(acts: readonly Act[]): void {
    for (const one of acts) this.#do(one);
    this.#reconcileAndJudge();
    this.world.playCluster();
    this.world.nowMs += 3_000;
  }

  /** Nobody does anything any more, and what was switched off is on again. */
  goOn(): void {
    this.#paused = false;
    this.world.edit(this.#spec());
  }

  run(rounds: number, stepMs: number): void {
    for (let round = 0; round < rounds; round += 1) {
      this.#reconcileAndJudge();
      this.world.playCluster();
      this.world.nowMs += stepMs;
    }
  }

  #reconcileAndJudge(): void {
    const before = this.#claims();
    const badBefore = this.#bad();
    const paused = this.#paused;
    const whole = this.#stopAfter === undefined;
    this.world.reconcile(this.#stopAfter);
    this.#stopAfter = undefined;
    const claimed = [...this.#claims()].filter(([name, at]) => before.get(name) !== at);
    if (claimed.length === 0) return;
    const fresh = claimed.filter(([name]) => !badBefore.has(name) && !this.#isAsked(name));
    if (paused) expect(fresh, 'claims while paused').toEqual([]);
    for (const [name, claim] of fresh) {
      const revision = claim.split(' ')[0];
      const bad = [...badBefore].filter(([, of]) => of === revision);
      expect(bad.length, `bad nodes when ${name} was claimed`).toBeLessThanOrEqual(
        this.#policy.failureBudget,
      );
    }
    if (whole) this.#expectEarlierWavesSoaked(fresh);
    const poolSize = this.world.nodes.size;
    const inWork = this.#inWork();
    const disturbed = new Set([...inWork, ...this.#notReady()]);
    expect(inWork.size, 'in work').toBeLessThanOrEqual(share_(this.#policy.maxParallel, poolSize));
    expect(disturbed.size, 'unavailable').toBeLessThanOrEqual(
      share_(this.#policy.maxUnavailable, poolSize),
    );
  }

  /** Whoever stands beyond a wave came there after as many had been Ready through the soak. */
  #expectEarlierWavesSoaked(fresh: readonly [string, string][]): void {
    const first = fresh[0];
    if (first === undefined) return;
    const revision = first[1].split(' ')[0];
    const views = this.world
      .nodeViews()
      .filter(({ skip, name }) => !skip || this.#has(name, revision));
    const there = views.flatMap((node) => {
      const kataNode = this.world.kataNode(node.name);
      return kataNode !== undefined && kataNode.spec.revision === revision
        ? [{ node, status: kataNode.status }]
        : [];
    });
    const phaseOf = (at: (typeof there)[number]): string =>
      at.status?.revision === revision ? (at.status?.phase ?? '') : '';
    const unsupported = there.filter((at) => phaseOf(at) === 'Unsupported').length;
    const reached = there.filter(
      (at) => at.node.ready && ![...BAD, 'Unsupported'].includes(phaseOf(at)),
    ).length;
    const soakMs = Number.parseInt(this.#policy.soak, 10) * 1_000;
    const soaked = there.filter(
      (at) =>
        phaseOf(at) === 'Ready' && Date.parse(at.status?.since ?? '') + soakMs <= this.world.nowMs,
    ).length;
    const poolSize = views.length - unsupported;
    let highest = 0;
    for (const wave of this.#policy.waves) {
      const limit = Math.min(share_(wave, poolSize), poolSize);
      if (limit <= highest) continue;
      highest = limit;
      if (limit < reached)
        expect(soaked, `soaked when wave ${wave} was passed`).toBeGreaterThanOrEqual(limit);
    }
  }

  /** What a person wants to be left alone still counts where it has the revision and is well. */
  #has(name: string, revision: string | undefined): boolean {
    const { spec, status } = this.world.kataNode(name) ?? {};
    if (spec?.revision !== revision) return false;
    return status?.revision !== revision || !BAD.includes(status?.phase ?? '');
  }

  #do({ what, node }: Act): void {
    const name = `node-${String(node)}`;
    const exists = this.world.nodes.has(name);
    if (what === 'down' && exists) this.world.setReady(name, false);
    if (what === 'up' && exists) this.world.setReady(name, true);
    if (what === 'vanish' && exists && this.world.nodes.size > 1) this.world.nodes.delete(name);
    if (what === 'skip' && exists) this.world.annotateNode(name, { [ANNOTATION.skip]: 'true' });
    if (what === 'retry' && this.world.kataNodes.has(name))
      this.world.annotateKataNode(name, { [ANNOTATION.retry]: String(this.world.nowMs) });
    if (what === 'crash') this.#stopAfter = node;
    if (what === 'join') {
      this.#joined += 1;
      this.world.addNode(`new-${String(this.#joined)}`, { createdAtMs: this.world.nowMs });
    }
    if (what === 'pause' || what === 'resume') {
      this.#paused = what === 'pause';
      this.world.edit(this.#spec());
    }
    if (what === 'edit') {
      this.#runtimes = this.#runtimes.length === 1 ? ['qemu', 'fc'] : ['qemu'];
      this.world.edit(this.#spec());
    }
  }

  readonly #behaviour: Behaviour = (node, stage) => {
    const index = Number(node.split('-')[1] ?? 0) + (node.startsWith('new') ? 3 : 0);
    const mine = this.#fates[index % this.#fates.length];
    if (mine === 'hang') return 'hang';
    if (mine === 'unsupported' && stage === 'preflight')
      return badResult('unsupported', 'KATA_E_NO_KVM', { cause: 'none' });
    if (mine === 'fail' && stage === 'activate')
      return badResult('rolledBack', 'KATA_E_ENGINE_REJECTED_CONFIG');
    return undefined;
  };

  #spec(): unknown {
    return {
      runtimes: this.#runtimes.map((name) => ({ name })),
      rollout: {
        ...this.#policy,
        paused: this.#paused,
        nodeTimeout: '30s',
        progressDeadline: `${String(DEADLINE_MS / 1000)}s`,
      },
    };
  }

  #claims(): Map<string, string> {
    return new Map(
      [...this.world.kataNodes.keys()].map((name) => {
        const spec = this.world.kataNode(name)?.spec;
        return [name, `${spec?.revision ?? ''} ${spec?.claimedAt ?? ''}`];
      }),
    );
  }

  #isAsked(name: string): boolean {
    const kataNode = this.world.kataNode(name);
    const asked = kataNode?.annotations[ANNOTATION.retry];
    return asked !== undefined && kataNode?.spec.retryHandled === asked;
  }

  /** Claimed, and no end of it recorded. */
  #inWork(): Set<string> {
    const names = [...this.world.kataNodes.keys()].filter((name) => {
      const kataNode = this.world.kataNode(name);
      if (kataNode === undefined || !this.world.nodes.has(name)) return false;
      const { spec, status } = kataNode;
      if (status === undefined || status.revision !== spec.revision) return true;
      if (!ENDED.includes(status.phase)) return true;
      return Date.parse(spec.claimedAt ?? '') > Date.parse(status.since ?? '');
    });
    return new Set(names);
  }

  #notReady(): string[] {
    return this.world.nodeViews().flatMap(({ ready, name }) => (ready ? [] : [name]));
  }

  /** Nodes that ended badly, with the revision at which they did. Whom a person has taken out does not count. */
  #bad(): Map<string, string | undefined> {
    const nodes = this.world.nodeViews().filter(({ skip }) => !skip);
    return new Map(
      nodes.flatMap(({ name }) => {
        const { spec, status } = this.world.kataNode(name) ?? {};
        if (status === undefined || !BAD.includes(status.phase)) return [];
        // Given another revision since, it is another story.
        return status.revision === spec?.revision ? [[name, status.revision]] : [];
      }),
    );
  }
}

function share_(countOrPercent: string, of: number): number {
  return countOrPercent.endsWith('%')
    ? Math.ceil((of * Number(countOrPercent.slice(0, -1))) / 100)
    : Number(countOrPercent);
}

describe('every rollout', () => {
  it('stays within its budgets, and ends or says why it does not', { timeout: 120_000 }, () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        policy,
        fc.array(fate, { minLength: 8, maxLength: 8 }),
        fc.array(act, { maxLength: 14 }),
        (nodes, wanted, fates, acts) => {
          const history = new History(nodes, wanted, fates);
          for (let round = 0; round < ROUNDS; round += 1)
            history.step(acts.filter((one) => one.round === round));
          history.goOn();
          history.run(60, 11_000);
          history.run(60, 61_000);
          const progressing = history.world.condition('Progressing');
          expect(['Complete', 'FailureBudgetExhausted', 'Stalled', 'NodesNotReady']).toContain(
            progressing?.reason,
          );
          const before = history.world.writes.length;
          history.run(1, 0);
          expect(
            history.world.writes.slice(before).filter(({ verb }) => verb !== 'event'),
            'writes although nothing moves',
          ).toEqual([]);
        },
      ),
      { numRuns: RUNS },
    );
  });
});
