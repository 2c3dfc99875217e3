/** Rows of the table of errors: the host, the process, and its own record. */
import { entry } from './entry.ts';

export const HOST = {
  KATA_E_IO: entry(
    'HostIOError',
    'retryable',
    '{path}: {cause}',
    'Check that file system on the node.',
  ),
  KATA_E_DEADLINE: entry(
    'DeadlineExceeded',
    'retryable',
    'the stage did not end in time; it was at {step}',
    'Look at the load and the disk of the node, then try again.',
  ),
  KATA_E_DRIFT: entry(
    'Drift',
    'retryable',
    '{step}: the host is not as the plan asks',
    'Run kata-node apply with the same plan; kata-node plan shows what it would change.',
  ),
  KATA_E_INTERRUPTED: entry(
    'Interrupted',
    'retryable',
    'stopped from outside during {step}; what was begun was taken back',
    'Run it again.',
  ),
  KATA_E_TIMEOUT: entry(
    'TimedOut',
    'retryable',
    '{what} took longer than {seconds} s',
    'Try again; if it stays, look at the load of the node.',
  ),
  KATA_E_PLAN_INVALID: entry(
    'PlanInvalid',
    'terminal',
    'plan {file}: {cause}',
    'Correct the file. In a cluster, the controller and the node image differ in version: upgrade both.',
  ),
  KATA_E_KUBECONFIG: entry(
    'KubeconfigInvalid',
    'terminal',
    'no usable kubeconfig: {cause}',
    'Pass --kubeconfig, set KUBECONFIG, or run in a Pod with a service account.',
  ),
  KATA_E_INTERNAL: entry(
    'InternalError',
    'retryable',
    '{cause}',
    'This is a bug in kata-operator; please report it with the support bundle.',
  ),
} as const;
