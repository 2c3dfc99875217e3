import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KataError } from '../../../../src/errors.ts';
import { runTransaction, type RunOptions } from '../../../../src/node/transaction/runner.ts';
import type { Step } from '../../../../src/node/transaction/step.ts';

/** A host that is a set of words; each step wants its own in it. */
class Words {
  readonly present = new Set<string>();
  readonly journal: string[] = [];
  readonly events: string[] = [];

  step(
    name: string,
    fail: Partial<Record<'check' | 'apply' | 'verify' | 'undo', unknown>> = {},
  ): Step {
    const maybe = (at: keyof typeof fail): void => {
      if (at in fail) throw fail[at];
    };
    let made = false;
    return {
      name,
      check: () => {
        maybe('check');
        return Promise.resolve(this.present.has(name));
      },
      apply: () => {
        // Half done when it fails, as a real step may be.
        this.present.add(name);
        made = true;
        maybe('apply');
        return Promise.resolve({ bytesWritten: 10, engineRestarts: 1, outageMs: 5 });
      },
      verify: () => {
        maybe('verify');
        return Promise.resolve();
      },
      undo: () => {
        maybe('undo');
        if (made) this.present.delete(name);
        return Promise.resolve();
      },
    };
  }

  options(signal = new AbortController().signal): RunOptions {
    const note = (word: string) => (step: string) => {
      this.journal.push(`${word} ${step}`);
      return Promise.resolve();
    };
    return {
      journal: {
        intended: note('intended'),
        applied: note('applied'),
        undone: note('undone'),
        failing: note('failing'),
      },
      observe: (step, event) => this.events.push(`${step} ${event}`),
      signal,
    };
  }
}

const refusal = new KataError('KATA_E_IO', { path: '/x', cause: 'broken' });

describe('a transaction', () => {
  it('applies what is missing, verifies everything, and adds up what it cost', async () => {
    const words = new Words();
    words.present.add('a');
    const report = await runTransaction(
      [words.step('a'), words.step('b'), words.step('c')],
      words.options(),
    );
    expect(report).toMatchObject({ bytesWritten: 20, engineRestarts: 2, outageMs: 10 });
    expect(report.failure).toBeUndefined();
    expect(report.steps.map(({ name, changed }) => [name, changed])).toEqual([
      ['a', false],
      ['b', true],
      ['c', true],
    ]);
    expect([...words.present]).toEqual(['a', 'b', 'c']);
  });

  it('writes its intent down before each apply', async () => {
    const words = new Words();
    await runTransaction([words.step('a'), words.step('b')], words.options());
    expect(words.journal).toEqual(['intended a', 'applied a', 'intended b', 'applied b']);
  });

  it.each(['apply', 'verify'] as const)(
    'takes everything back in reverse when a step fails in %s',
    async (at) => {
      const words = new Words();
      const steps = [
        words.step('a'),
        words.step('b'),
        words.step('c', { [at]: refusal }),
        words.step('d'),
      ];
      const { failure } = await runTransaction(steps, words.options());
      expect(failure).toMatchObject({ step: 'c', error: refusal, undone: true });
      expect(failure?.applied).toEqual(at === 'apply' ? ['a', 'b'] : ['a', 'b', 'c']);
      expect([...words.present]).toEqual([]);
      expect(words.journal.slice(-3)).toEqual(['undone c', 'undone b', 'undone a']);
      expect(words.events).toEqual([
        'a changed',
        'b changed',
        'c failed',
        'c undone',
        'b undone',
        'a undone',
      ]);
    },
  );

  it('does not undo what was there before it', async () => {
    const words = new Words();
    words.present.add('a');
    await runTransaction([words.step('a'), words.step('b', { apply: refusal })], words.options());
    expect([...words.present]).toEqual(['a']);
  });

  it('ends taking back at a step that cannot be: what that step stands on stays', async () => {
    const words = new Words();
    const stuck = new KataError('KATA_E_ROLLBACK_FAILED', { unit: 'x', cause: 'y', backup: 'z' });
    const steps = [
      words.step('a'),
      words.step('b', { undo: stuck }),
      words.step('c', { apply: refusal }),
    ];
    const { failure } = await runTransaction(steps, words.options());
    expect(failure).toMatchObject({ step: 'c', error: refusal, undoError: stuck });
    expect([...words.present]).toEqual(['a', 'b']);
  });

  it('leaves everything in place when a person has to restart the engine', async () => {
    const words = new Words();
    const waiting = new KataError('KATA_E_AWAITING_RESTART', { unit: 'containerd.service' });
    const { failure } = await runTransaction(
      [words.step('a'), words.step('b', { apply: waiting }), words.step('c')],
      words.options(),
    );
    expect(failure).toMatchObject({ step: 'b', undone: false });
    expect([...words.present]).toEqual(['a', 'b']);
  });

  it('takes back what it did when it is stopped, whatever the step throws then', async () => {
    const words = new Words();
    const stop = new AbortController();
    const slow: Step = {
      ...words.step('b'),
      apply: () => {
        stop.abort();
        return Promise.reject(new Error('some socket closed'));
      },
    };
    const { failure } = await runTransaction(
      [words.step('a'), slow, words.step('c')],
      words.options(stop.signal),
    );
    expect(failure?.error).toMatchObject({ code: 'KATA_E_INTERRUPTED', parameters: { step: 'b' } });
    expect([...words.present]).toEqual([]);
  });

  it('says that it was the deadline, when it was', async () => {
    const words = new Words();
    const slow: Step = {
      ...words.step('a'),
      apply: (signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            reject(new Error('aborted'));
          });
        }),
    };
    const { failure } = await runTransaction([slow], words.options(AbortSignal.timeout(10)));
    expect(failure?.error.code).toBe('KATA_E_DEADLINE');
  });

  it('calls an error that is not of the table internal, on one line', async () => {
    const words = new Words();
    const { failure } = await runTransaction(
      [words.step('a', { check: new TypeError('x is not a function\n  at y') })],
      words.options(),
    );
    expect(failure?.error).toMatchObject({
      code: 'KATA_E_INTERNAL',
      message: 'x is not a function at y',
    });
    expect(words.journal).toEqual([]);
  });

  it('takes back although the journal cannot be written any more', async () => {
    const words = new Words();
    const full = (): Promise<void> =>
      Promise.reject(new KataError('KATA_E_IO', { path: '/opt/kata/state', cause: 'no space' }));
    const options = {
      ...words.options(),
      journal: { intended: () => Promise.resolve(), applied: full, undone: full, failing: full },
    };
    const { failure } = await runTransaction([words.step('a')], options);
    expect(failure).toMatchObject({ step: 'a', undone: true });
    expect(failure?.undoError).toBeUndefined();
    expect([...words.present]).toEqual([]);
  });

  it('goes on with what an interrupted run had begun, and takes that back as well when it fails', async () => {
    const words = new Words();
    // A was applied and B perhaps, by a process that is gone; each wrote down whether its word was there before.
    words.present.add('a').add('b');
    const remembering = (step: Step): Step => ({
      ...step,
      intent: () => Promise.resolve({ wasThere: words.present.has(step.name) }),
      undo: (_signal, intent) => {
        if (JSON.stringify(intent) === '{"wasThere":false}') words.present.delete(step.name);
        return Promise.resolve();
      },
    });
    const steps = ['a', 'b', 'c'].map((name) => remembering(words.step(name)));
    const failing = remembering(words.step('d', { apply: refusal }));
    const { failure } = await runTransaction([...steps, failing], {
      ...words.options(),
      recorded: [
        { name: 'a', state: 'applied', intent: { wasThere: false } },
        { name: 'b', state: 'intended', intent: { wasThere: true } },
      ],
    });
    expect(failure).toMatchObject({ step: 'd', applied: ['a', 'b', 'c'] });
    expect([...words.present]).toEqual(['b']);
    expect(words.journal).toEqual([
      ...['intended c', 'applied c', 'intended d', 'failing d'],
      ...['undone d', 'undone c', 'undone b', 'undone a'],
    ]);
  });

  it('ends with everything in place or with what was there before, wherever one step fails', async () => {
    const scenario = fc.record({
      names: fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { minLength: 1 }),
      before: fc.subarray(['a', 'b', 'c', 'd', 'e', 'other']),
      failing: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'none'),
      at: fc.constantFrom('check', 'apply', 'verify' as const),
    });
    await fc.assert(
      fc.asyncProperty(scenario, async ({ names, before, failing, at }) => {
        const words = new Words();
        for (const word of before) words.present.add(word);
        const steps = names.map((name) =>
          words.step(name, name === failing ? { [at]: refusal } : {}),
        );
        const { failure } = await runTransaction(steps, words.options());
        const wanted = failure === undefined ? [...new Set([...before, ...names])] : before;
        expect([...words.present].sort()).toEqual([...wanted].sort());
      }),
    );
  });
});
