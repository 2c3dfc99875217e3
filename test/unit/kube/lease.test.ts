import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { KubeClient } from '../../../src/kube/client.ts';
import { LeaderElector, type LeaderElectorOptions } from '../../../src/kube/lease.ts';
import { LeaseApi, type Fault } from './leaseApi.ts';
import { recordingLog } from './recordingLog.ts';
import { Simulation, type SimulatedProcess } from './simulation.ts';

interface Candidate {
  readonly elector: LeaderElector;
  readonly process: SimulatedProcess;
  readonly stop: AbortController;
  /** What run threw, or undefined. */
  readonly ended: Promise<unknown>;
  /** When the work started and stopped. */
  readonly story: { what: 'start' | 'stop'; atMs: number }[];
}

type Work = (leading: AbortSignal, candidate: Candidate) => Promise<void>;

class World extends Simulation {
  readonly api = new LeaseApi(this);

  stand(identity: string, options: Partial<LeaderElectorOptions> = {}, work?: Work): Candidate {
    const process = this.process();
    const elector = new LeaderElector({
      client: new KubeClient(this.api.transportFor(process)),
      namespace: 'kata',
      name: 'leader',
      identity,
      log: recordingLog(),
      clock: process,
      ...options,
    });
    const stop = new AbortController();
    const story: Candidate['story'] = [];
    const ended = elector
      .run(stop.signal, async (leading) => {
        story.push({ what: 'start', atMs: this.nowMs });
        await (work ?? untilAborted)(leading, candidate);
        story.push({ what: 'stop', atMs: this.nowMs });
      })
      .catch((thrown: unknown) => thrown);
    const candidate = { elector, process, stop, ended, story };
    return candidate;
  }

  pause(forMs: number, process: SimulatedProcess): Promise<void> {
    return new Promise((resolve) => {
      this.after(forMs, resolve, process);
    });
  }
}

const told = ({ story }: Candidate): string[] => story.map(({ what }) => what);

describe('LeaderElector', () => {
  let world: World;
  let api: LeaseApi;

  beforeEach(() => {
    world = new World();
    ({ api } = world);
  });

  it('makes the Lease, with times of six digits, and renews it every two seconds', async () => {
    const candidate = world.stand('a');
    await world.run(100);
    expect(candidate.elector.isLeader()).toBe(true);
    expect(api.spec).toEqual({
      holderIdentity: 'a',
      leaseDurationSeconds: 10,
      leaseTransitions: 0,
      acquireTime: '2026-01-01T00:00:01.002000Z',
      renewTime: '2026-01-01T00:00:01.002000Z',
    });
    const before = api.requests;
    await world.run(60_000);
    expect(candidate.elector.isLeader()).toBe(true);
    expect(api.spec['acquireTime']).toBe('2026-01-01T00:00:01.002000Z');
    // One request each, never a read.
    expect(api.requests - before).toBeGreaterThan(20);
    expect(api.requests - before).toBeLessThanOrEqual(30);
  });

  it.each(['1970-01-01T00:00:00.000000Z', '2200-01-01T00:00:00.000000Z'])(
    'counts the silence of a holder by its own clock, whatever time that wrote (%s)',
    async (renewTime) => {
      api.put({ holderIdentity: 'dead', leaseDurationSeconds: 15, renewTime, leaseTransitions: 4 });
      const candidate = world.stand('a');
      await world.run(14_900);
      expect(candidate.elector.isLeader()).toBe(false);
      await world.run(3_000);
      expect(candidate.elector.isLeader()).toBe(true);
      expect(api.spec).toMatchObject({ holderIdentity: 'a', leaseTransitions: 5 });
    },
  );

  it('does not wait for itself after a restart', async () => {
    api.put({ holderIdentity: 'a', leaseDurationSeconds: 60, leaseTransitions: 4 });
    const candidate = world.stand('a');
    await world.run(10);
    expect(candidate.elector.isLeader()).toBe(true);
    expect(api.spec['leaseTransitions']).toBe(4);
  });

  it.each(['cut', 'hang', 'deaf'] as const)(
    'keeps leading through three seconds without the API (%s)',
    async (fault) => {
      const candidate = world.stand('a');
      await world.run(5_000);
      api.fault = fault;
      await world.run(3_000);
      api.fault = undefined;
      await world.run(10_000);
      expect(candidate.elector.isLeader()).toBe(true);
      expect(told(candidate)).toEqual(['start']);
    },
  );

  it.each(['cut', 'hang'] as const)(
    'stops seven seconds after the last renewal, before anybody else may lead, and stands again (%s)',
    async (fault) => {
      const candidate = world.stand('a');
      const other = world.stand('b');
      await world.run(10_000);
      const cutAtMs = world.nowMs;
      api.fault = fault;
      await world.run(30_000, () => {
        expect(other.elector.isLeader()).toBe(false);
      });
      expect(told(candidate)).toEqual(['start', 'stop']);
      expect((candidate.story[1]?.atMs ?? 0) - cutAtMs).toBeLessThanOrEqual(7_500);
      api.fault = undefined;
      await world.run(20_000);
      expect([candidate, other].filter(({ elector }) => elector.isLeader())).toHaveLength(1);
    },
  );

  it('stops at the next renewal when somebody else holds the lease', async () => {
    const candidate = world.stand('a');
    await world.run(5_000);
    api.put({ holderIdentity: 'b', leaseDurationSeconds: 60, leaseTransitions: 1 });
    await world.run(2_500);
    expect(candidate.elector.isLeader()).toBe(false);
    expect(told(candidate)).toEqual(['start', 'stop']);
  });

  it('goes on when somebody edits the Lease, or deletes it', async () => {
    const candidate = world.stand('a');
    await world.run(5_000);
    api.put({ ...api.spec });
    await world.run(5_000);
    api.stored = undefined;
    await world.run(5_000);
    expect(candidate.elector.isLeader()).toBe(true);
    expect(api.spec['holderIdentity']).toBe('a');
    expect(told(candidate)).toEqual(['start']);
  });

  it('gives the lease up in an orderly end, so that the next one leads at its next try', async () => {
    const first = world.stand('a');
    await world.run(100);
    const second = world.stand('b');
    await world.run(20_000);
    expect(second.elector.isLeader()).toBe(false);
    first.stop.abort();
    await world.run(2_500);
    expect(second.elector.isLeader()).toBe(true);
    expect(told(first)).toEqual(['start', 'stop']);
    expect(await first.ended).toBeUndefined();
    expect(api.spec['leaseTransitions']).toBe(1);
  });

  it('gives it up also when somebody edited the Lease meanwhile', async () => {
    const candidate = world.stand('a');
    await world.run(1_000);
    api.put({ ...api.spec });
    candidate.stop.abort();
    await world.run(100);
    expect(api.spec['holderIdentity']).toBeUndefined();
  });

  it('holds the lease while the work comes to its end, however long that takes', async () => {
    let heldAtTheEnd: boolean | undefined;
    const candidate = world.stand('a', {}, async (leading, self) => {
      await untilAborted(leading);
      await world.pause(60_000, self.process);
      heldAtTheEnd = self.elector.isLeader();
    });
    await world.run(5_000);
    candidate.stop.abort();
    await world.run(61_000);
    expect(heldAtTheEnd).toBe(true);
    expect(api.spec['holderIdentity']).toBeUndefined();
  });

  it('releases the lease and fails when the work fails', async () => {
    const bug = new Error('bug');
    const candidate = world.stand('a', {}, async () => Promise.reject(bug));
    await world.run(100);
    expect(await candidate.ended).toBe(bug);
    expect(api.spec['holderIdentity']).toBeUndefined();
  });

  it('fails when the work does not end although the lease was lost', async () => {
    const candidate = world.stand('a', { stopTimeoutMs: 5_000 }, async () => {
      await new Promise(() => undefined);
    });
    await world.run(1_000);
    api.put({ holderIdentity: 'b', leaseDurationSeconds: 60 });
    await world.run(8_000);
    expect(String(await candidate.ended)).toMatch(/did not end within 5000 ms/);
  });

  it('is no leader after a standstill, before any of its timers had a chance to run', async () => {
    const candidate = world.stand('a');
    await world.run(5_000);
    candidate.process.paused = true;
    await world.run(6_000 + 1_000);
    expect(candidate.elector.isLeader()).toBe(false);
    const other = world.stand('b');
    await world.run(13_000);
    expect(other.elector.isLeader()).toBe(true);
    candidate.process.paused = false;
    await world.run(5_000);
    expect(candidate.elector.isLeader()).toBe(false);
    expect(told(candidate)).toEqual(['start', 'stop']);
  });

  it('counts from when a renewal was sent, not from when its answer was read', async () => {
    const candidate = world.stand('a');
    await world.run(2_500);
    api.latencyMs = 500;
    const before = api.requests;
    while (api.requests === before) await world.run(10);
    // The renewal arrives, its answer waits for a process that stands still.
    candidate.process.paused = true;
    api.latencyMs = 1;
    const other = world.stand('b');
    await world.run(20_000);
    expect(other.elector.isLeader()).toBe(true);
    candidate.process.paused = false;
    await world.run(5_000, () => {
      expect(candidate.elector.isLeader()).toBe(false);
    });
  });

  it('is no leader any more while its release is on the way', async () => {
    const first = world.stand('a');
    await world.run(5_000);
    const second = world.stand('b', { retryPeriodMs: 100 });
    await world.run(5_000);
    api.latencyMs = 900;
    first.stop.abort();
    await world.run(1);
    api.latencyMs = 1;
    await world.run(5_000, () => {
      expect(first.elector.isLeader() && second.elector.isLeader()).toBe(false);
    });
    expect(second.elector.isLeader()).toBe(true);
  });

  it('refuses times that could make two leaders', () => {
    expect(() => world.stand('a', { leaseDurationMs: 7_000 })).toThrow(RangeError);
    expect(() => world.stand('a', { retryPeriodMs: 7_000 })).toThrow(RangeError);
  });

  it('never has two leaders, and has one again when all is well, whatever happens', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(happening, { maxLength: 25 }), async (happenings) => {
        world = new World();
        const candidates = ['a', 'b', 'c'].map((identity) => world.stand(identity));
        const leaders = (): number => candidates.filter(({ elector }) => elector.isLeader()).length;
        const atMostOne = (): void => {
          if (leaders() > 1) throw new Error(`two leaders at ${world.nowMs} ms`);
        };
        for (const { fault, latencyMs, pause, restart, forMs } of happenings) {
          world.api.fault = fault;
          world.api.latencyMs = latencyMs;
          const paused = candidates[pause];
          if (paused !== undefined) paused.process.paused = !paused.process.paused;
          if (candidates[restart] !== undefined) {
            candidates[restart].stop.abort();
            candidates.push(world.stand(`restarted-${world.nowMs}`));
          }
          await world.run(forMs, atMostOne);
        }
        world.api.fault = undefined;
        world.api.latencyMs = 1;
        for (const { process } of candidates) process.paused = false;
        await world.run(30_000, atMostOne);
        expect(leaders()).toBe(1);
        for (const { stop } of candidates) stop.abort();
        await world.run(20_000);
      }),
      { numRuns: 100 },
    );
  });
});

const happening = fc.record({
  fault: fc.constantFrom<Fault | undefined>('cut', 'hang', 'deaf', undefined, undefined),
  latencyMs: fc.constantFrom(1, 300, 700, 3_000, 12_000),
  /** Which candidate stands still or goes on. */
  pause: fc.integer({ min: 0, max: 6 }),
  /** Which candidate ends in order and is replaced. */
  restart: fc.integer({ min: 0, max: 12 }),
  forMs: fc.integer({ min: 1, max: 9_000 }),
});

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => {
      resolve();
    });
    if (signal.aborted) resolve();
  });
}
