import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RESULT_MAX_BYTES, nodeResult, type NodeResult } from '../../../../src/crds/nodeResult.ts';
import { CATALOGUE } from '../../../../src/kata/catalogue.ts';
import { resultMessage } from '../../../../src/node/stages/message.ts';

const HANDLERS = CATALOGUE.map(({ name }) => `kata-${name}`);

function resultOf(change: Partial<NodeResult> = {}): NodeResult {
  return {
    resultVersion: 1,
    stage: 'activate',
    deployment: 'kata',
    revision: '0123456789',
    attempt: '7c1f2c0e-7d9f-4c43-9a27-0a59f3d2f1a4',
    outcome: 'done',
    steps: Array.from({ length: 12 }, (_, i) => ({
      name: `StepNumber${i}`,
      ms: 12_345,
      changed: i % 2 === 0,
    })),
    facts: {
      arch: 'amd64',
      kernel: '6.18.35-202-generic',
      machineId: '0123456789abcdef0123456789abcdef',
      bootId: '7c1f2c0e-7d9f-4c43-9a27-0a59f3d2f1a4',
      kvm: { usable: true },
      engine: {
        name: 'containerd',
        version: '2.4.2',
        configPath: '/etc/containerd/config.toml',
        unit: 'containerd.service',
      },
      artifacts: { version: '4.1.0', digest: '0123456789abcdef0123' },
    },
    handlers: [],
    engineRestarts: 1,
    outageMs: 146,
    bytesWritten: 1_080_000_000,
    durationMs: 12_345,
    ...change,
  };
}

const parse = (text: string): NodeResult => nodeResult.parse(JSON.parse(text));

describe('the result in a termination message', () => {
  it('is whole when it fits, also with every handler of the catalogue', () => {
    const result = resultOf({ handlers: HANDLERS });
    expect(parse(resultMessage(result))).toEqual(result);
  });

  it('gives up steps first, then length of texts, and never the outcome or a handler', () => {
    const handlers = Array.from({ length: 33 }, (_, i) => `kata-${'x'.repeat(55)}${i}`);
    const error = {
      code: 'KATA_E_ENGINE_REJECTED_CONFIG',
      step: 'EngineConfiguration',
      reason: 'EngineRejectedConfig',
      message: 'ä'.repeat(3000),
      remedy: 'ö'.repeat(1000),
    };
    const text = resultMessage(resultOf({ handlers, error, outcome: 'rolledBack' }));
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(RESULT_MAX_BYTES);
    const kept = parse(text);
    expect(kept).toMatchObject({
      outcome: 'rolledBack',
      handlers,
      error: { code: error.code, step: error.step },
    });
    expect(kept.steps).toEqual([]);
    expect(kept.error?.message).toMatch(/^ä+…$/);
  });

  it('keeps the steps that changed something longest', () => {
    const steps = Array.from({ length: 100 }, (_, i) => ({
      name: `Step${i}`,
      ms: 1,
      changed: i === 7,
    }));
    expect(parse(resultMessage(resultOf({ steps }))).steps).toEqual([
      { name: 'Step7', ms: 1, changed: true },
    ]);
  });

  it('fits and parses whatever is in it', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 3000 });
    const arbitrary = fc.record({
      message: text,
      remedy: text,
      cause: text,
      handlers: fc.subarray(HANDLERS),
      steps: fc.nat({ max: 200 }),
    });
    fc.assert(
      fc.property(arbitrary, ({ message, remedy, cause, handlers, steps }) => {
        const result = resultOf({
          handlers,
          outcome: 'refused',
          error: { code: 'KATA_E_IO', step: 'Artifacts', reason: 'HostIOError', message, remedy },
          steps: Array.from({ length: steps }, (_, i) => ({
            name: `Step${i}`,
            ms: i,
            changed: true,
          })),
          facts: { kvm: { usable: false, cause } },
        });
        const written = resultMessage(result);
        expect(Buffer.byteLength(written)).toBeLessThanOrEqual(RESULT_MAX_BYTES);
        expect(parse(written)).toMatchObject({
          outcome: 'refused',
          handlers,
          attempt: result.attempt,
        });
      }),
    );
  });

  it('that cannot fit is a failure, never a success with handlers missing', () => {
    const handlers = Array.from({ length: 64 }, (_, i) => `${'y'.repeat(80)}${i}`);
    const written = resultMessage(resultOf({ handlers }));
    expect(Buffer.byteLength(written)).toBeLessThanOrEqual(RESULT_MAX_BYTES);
    expect(parse(written)).toMatchObject({ outcome: 'failed', handlers: [] });
  });
});
