import { describe, expect, it } from 'vitest';
import { nodePodView } from '../../../src/controller/cache/nodePod.ts';
import { LABEL } from '../../../src/crds/names.ts';
import type { NodeResult } from '../../../src/crds/nodeResult.ts';
import type { KubeObject } from '../../../src/kube/resource.ts';

const UID = 'pod-uid';

const RESULT: NodeResult = {
  resultVersion: 1,
  stage: 'preflight',
  deployment: 'kata',
  revision: 'abc',
  attempt: UID,
  outcome: 'done',
  steps: [],
  facts: {},
  handlers: [],
  engineRestarts: 0,
  bytesWritten: 0,
  durationMs: 1,
};

function aPod(status: object): KubeObject {
  return {
    metadata: { name: 'p', uid: UID, labels: { [LABEL.claim]: 'kata.abc' } },
    spec: { nodeName: 'worker-1' },
    status,
  };
}

function ended(message: string | undefined, state: 'state' | 'lastState' = 'state'): object {
  const terminated = { exitCode: 0, ...(message === undefined ? {} : { message }) };
  return { initContainerStatuses: [{ name: 'preflight', [state]: { terminated } }] };
}

describe('a Pod of kata-node', () => {
  it('tells its node, deployment and revision', () => {
    expect(nodePodView(aPod({}))).toMatchObject({
      nodeName: 'worker-1',
      deployment: 'kata',
      revision: 'abc',
      stages: {},
    });
  });

  it('brings the result of a stage that ended', () => {
    const pod = nodePodView(aPod(ended(JSON.stringify(RESULT))));
    expect(pod.stages.preflight).toEqual({ kind: 'ended', result: RESULT });
  });

  it('brings the result also from lastState, when kubelet runs the container again', () => {
    const pod = nodePodView(aPod(ended(JSON.stringify(RESULT), 'lastState')));
    expect(pod.stages.preflight?.kind).toBe('ended');
  });

  it.each([
    ['no message', undefined, /no message/],
    ['an empty message', '', /no message/],
    ['something that is not JSON', 'Killed', /not JSON: Killed/],
    ['JSON of another form', '{"outcome":"done"}', /not of the expected form/],
    [
      'a result of another attempt',
      JSON.stringify({ ...RESULT, attempt: 'other' }),
      /another attempt/,
    ],
    [
      'a result of another stage',
      JSON.stringify({ ...RESULT, stage: 'activate' }),
      /another stage/,
    ],
    [
      'a result of another revision',
      JSON.stringify({ ...RESULT, revision: 'zzz' }),
      /another revision/,
    ],
  ])('takes %s for unknown, never for success', (_what, message, cause) => {
    const state = nodePodView(aPod(ended(message))).stages.preflight;
    expect(state?.kind).toBe('unknown');
    expect(state).toHaveProperty('cause', expect.stringMatching(cause) as unknown);
  });

  it('says what kubelet says about a container that cannot start', () => {
    const waiting = { reason: 'ErrImagePull', message: 'not found' };
    const status = { initContainerStatuses: [{ name: 'preflight', state: { waiting } }] };
    expect(nodePodView(aPod(status)).waiting).toBe('ErrImagePull: not found');
  });

  it('does not take a normal start for trouble', () => {
    const waiting = { reason: 'PodInitializing' };
    const status = { initContainerStatuses: [{ name: 'preflight', state: { waiting } }] };
    expect(nodePodView(aPod(status)).waiting).toBeUndefined();
  });

  it('remembers since when it is not ready', () => {
    const conditions = [
      { type: 'Ready', status: 'False', lastTransitionTime: '2030-01-01T00:00:00Z' },
    ];
    expect(nodePodView(aPod({ conditions })).unreadySinceMs).toBe(
      Date.parse('2030-01-01T00:00:00Z'),
    );
  });
});
