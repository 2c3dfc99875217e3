/**
 * A result within the size that Kubernetes keeps of a termination message. What a person or the controller
 * can do without is dropped first: details of steps, then length of texts. Outcome and handlers stay.
 */
import { RESULT_MAX_BYTES, type NodeResult } from '../../crds/nodeResult.ts';

const SHORT_TEXT = 400;
const SHORTEST_TEXT = 120;

/** JSON of at most 4,096 bytes. */
export function resultMessage(result: NodeResult): string {
  for (const shrink of SHRINKS) {
    const text = JSON.stringify(shrink(result));
    if (Buffer.byteLength(text) <= RESULT_MAX_BYTES) return text;
  }
  // Not reached by a plan that the API accepts: a message that says too little is refused, one that lies is not.
  return JSON.stringify({
    ...SHRINKS.reduce((smaller, shrink) => shrink(smaller), result),
    outcome: 'failed',
    handlers: [],
    error: TOO_LARGE,
  });
}

const TOO_LARGE: NonNullable<NodeResult['error']> = {
  code: 'KATA_E_INTERNAL',
  step: 'Result',
  reason: 'InternalError',
  message: `the result does not fit into ${RESULT_MAX_BYTES} bytes`,
  remedy: 'Ask for fewer runtimes.',
};

const SHRINKS: readonly ((result: NodeResult) => NodeResult)[] = [
  (result) => result,
  withoutUnchangedSteps,
  (result) => ({ ...result, steps: [] }),
  (result) => withShortTexts({ ...result, steps: [] }, SHORT_TEXT),
  (result) => withShortTexts({ ...result, steps: [] }, SHORTEST_TEXT),
  (result) => withShortTexts(withoutExtras(result), SHORTEST_TEXT),
];

function withoutUnchangedSteps(result: NodeResult): NodeResult {
  return {
    ...result,
    steps: result.steps.filter(({ changed, name }) => changed || name === result.error?.step),
  };
}

function withShortTexts(result: NodeResult, length: number): NodeResult {
  const { error, facts } = result;
  const { kvm } = facts;
  return {
    ...result,
    ...(error === undefined
      ? {}
      : {
          error: {
            ...error,
            message: cut(error.message, length),
            remedy: cut(error.remedy, length),
          },
        }),
    facts: {
      ...facts,
      ...(kvm?.cause === undefined ? {} : { kvm: { ...kvm, cause: cut(kvm.cause, length) } }),
    },
  };
}

function withoutExtras({ skippedHandlers: _dropped, ...result }: NodeResult): NodeResult {
  const { arch, machineId, bootId, artifacts } = result.facts;
  return {
    ...result,
    steps: [],
    facts: {
      ...(arch === undefined ? {} : { arch }),
      ...(machineId === undefined ? {} : { machineId }),
      ...(bootId === undefined ? {} : { bootId }),
      ...(artifacts === undefined ? {} : { artifacts }),
    },
  };
}

/** By code points, so that no character is cut in two. */
function cut(text: string, length: number): string {
  const points = Array.from(text);
  return points.length <= length ? text : `${points.slice(0, length - 1).join('')}…`;
}
