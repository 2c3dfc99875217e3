import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WorkQueue } from '../../../src/kube/workqueue.ts';
import { FakeClock } from './fakeClock.ts';

const NEVER = new AbortController().signal;

describe('WorkQueue', () => {
  it('hands out keys in the order in which they were added, each once', async () => {
    const queue = new WorkQueue();
    for (const key of ['a', 'b', 'a', 'c', 'b']) queue.add(key);
    expect(queue.depth).toBe(3);
    expect([await queue.get(NEVER), await queue.get(NEVER), await queue.get(NEVER)]).toEqual([
      'a',
      'b',
      'c',
    ]);
  });

  it('does not hand out a key that is being worked on, but again when that is done', async () => {
    const queue = new WorkQueue();
    queue.add('a');
    await queue.get(NEVER);
    queue.add('a');
    expect(queue.depth).toBe(0);
    queue.done('a');
    expect(queue.depth).toBe(1);
    expect(await queue.get(NEVER)).toBe('a');
  });

  it('wakes those who wait, in the order in which they came', async () => {
    const queue = new WorkQueue();
    const waiting = [queue.get(NEVER), queue.get(NEVER)];
    queue.add('a');
    queue.add('b');
    expect(await Promise.all(waiting)).toEqual(['a', 'b']);
  });

  it('gives nothing to those who stopped waiting', async () => {
    const queue = new WorkQueue();
    const impatient = new AbortController();
    const first = queue.get(impatient.signal);
    const second = queue.get(NEVER);
    impatient.abort();
    expect(await first).toBeUndefined();
    queue.add('a');
    expect(await second).toBe('a');
    expect(await queue.get(AbortSignal.abort())).toBeUndefined();
  });

  it('takes the earliest of several times', async () => {
    const clock = new FakeClock();
    const queue = new WorkQueue({ clock });
    queue.addAfter('a', 500);
    queue.addAfter('a', 100);
    queue.addAfter('a', 900);
    clock.advance(99);
    expect(queue.depth).toBe(0);
    clock.advance(1);
    expect(await queue.get(NEVER)).toBe('a');
    queue.done('a');
    clock.advance(10_000);
    expect(queue.depth).toBe(0);
  });

  it('waits longer with every failure of a key, and starts anew after forget', () => {
    const clock = new FakeClock();
    const queue = new WorkQueue({ clock });
    const waits = [5, 10, 20, 40].map((expectedMs) => {
      queue.addRateLimited('a');
      clock.advance(expectedMs - 1);
      const early = queue.depth;
      clock.advance(1);
      const onTime = queue.depth;
      void queue.get(NEVER);
      queue.done('a');
      return [early, onTime];
    });
    expect(waits).toEqual([
      [0, 1],
      [0, 1],
      [0, 1],
      [0, 1],
    ]);
    expect(queue.failures('a')).toBe(4);
    queue.forget('a');
    queue.addRateLimited('a');
    clock.advance(5);
    expect(queue.depth).toBe(1);
  });

  it('never waits longer than 1,000 s for one key', () => {
    const clock = new FakeClock();
    const queue = new WorkQueue({ clock });
    for (let failure = 0; failure < 40; failure++) {
      queue.addRateLimited('a');
      clock.advance(1_000_000);
      expect(queue.depth).toBe(1);
      void queue.get(NEVER);
      queue.done('a');
    }
  });

  it('lets 100 failures of different keys through at once and then 10 a second', () => {
    const clock = new FakeClock();
    const queue = new WorkQueue({ clock });
    for (let index = 0; index < 130; index++) queue.addRateLimited(`key-${index}`);
    clock.advance(5);
    expect(queue.depth).toBe(100);
    clock.advance(995);
    expect(queue.depth).toBe(110);
    clock.advance(2_000);
    expect(queue.depth).toBe(130);
  });

  it('hands out what is queued at shutdown, then nothing, and leaves no timer', async () => {
    const clock = new FakeClock();
    const queue = new WorkQueue({ clock });
    queue.add('a');
    queue.addAfter('b', 100);
    queue.shutDown();
    queue.add('c');
    expect(clock.timers).toBe(0);
    expect(await queue.get(NEVER)).toBe('a');
    expect(await queue.get(NEVER)).toBeUndefined();
  });

  it('never works on a key twice at once, and never loses one, whatever happens', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 80 }), async (operations) => {
        const clock = new FakeClock();
        const queue = new WorkQueue({ clock });
        const working = new Set<string>();
        /** Keys added after they were last taken: each must come (again). */
        const owed = new Set<string>();
        const take = async (): Promise<void> => {
          const key = await queue.get(NEVER);
          if (key === undefined) throw new Error('the queue is not shut down');
          expect(working.has(key)).toBe(false);
          working.add(key);
          owed.delete(key);
        };
        for (const { kind, key, delayMs } of operations) {
          if (kind === 'add') queue.add(key);
          if (kind === 'addAfter') queue.addAfter(key, delayMs);
          if (kind === 'addRateLimited') queue.addRateLimited(key);
          if (kind.startsWith('add')) owed.add(key);
          if (kind === 'advance') clock.advance(delayMs);
          if (kind === 'take' && queue.depth > 0) await take();
          if (kind === 'done' && working.delete(key)) queue.done(key);
        }
        for (let round = 0; round < 10 && owed.size + queue.depth + clock.timers > 0; round++) {
          clock.advance(2_000_000);
          for (const key of working) queue.done(key);
          working.clear();
          while (queue.depth > 0) await take();
        }
        expect([...owed]).toEqual([]);
        expect([queue.depth, clock.timers]).toEqual([0, 0]);
      }),
      { numRuns: 300 },
    );
  });
});

const operation = fc.record({
  kind: fc.constantFrom(
    'add',
    'add',
    'addAfter',
    'addRateLimited',
    'take',
    'take',
    'done',
    'advance',
  ),
  key: fc.constantFrom('a', 'b', 'c'),
  delayMs: fc.integer({ min: 0, max: 50 }),
});
