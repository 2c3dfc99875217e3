/** Rows of the table of errors: many nodes, as the controller sees them. */
import { entry } from './entry.ts';

export const FLEET = {
  KATA_E_NODE_CONFLICT: entry(
    'NodeConflict',
    'terminal',
    'node {node} is claimed by KataDeployment {owner}',
    'Make the selectors disjoint; the older KataDeployment keeps the node.',
  ),
  KATA_E_FAILURE_BUDGET: entry(
    'FailureBudgetExhausted',
    'terminal',
    '{failed} of {desired} nodes failed (budget {budget}); no further node is touched',
    'Fix the nodes named below and annotate their KataNode with kata-operator.dev/retry, or raise rollout.failureBudget.',
  ),
  KATA_E_NODE_TIMEOUT: entry(
    'NodeTimeout',
    'retryable',
    'node {node} reported nothing for {seconds} s at step {step}',
    'Look at the Pod of kata-operator on that node (kubectl -n {namespace} get pods -o wide).',
  ),
  KATA_E_RESULT_UNKNOWN: entry(
    'ResultUnknown',
    'retryable',
    'the result of {stage} is missing or not ours: {cause}',
    'The node is tried again; if it stays, look at the Pod of kata-operator on that node.',
  ),
} as const;
