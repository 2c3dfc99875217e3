/** Rows of the table of errors: the engine's configuration, its restart, and taking both back. */
import { entry } from './entry.ts';

export const ACTIVATION = {
  KATA_E_ENGINE_RESTART: entry(
    'EngineRestartFailed',
    'retryable',
    '{unit} did not come back: {cause}',
    'The previous configuration was restored. See journalctl -u {unit} on the node.',
  ),
  KATA_E_HANDLERS_MISSING: entry(
    'HandlerMissing',
    'retryable',
    '{engine} does not serve {handlers} after the change',
    'The previous configuration was restored. Look for a file that overrides ours among the imports of the engine configuration.',
  ),
  KATA_E_ROLLBACK_FAILED: entry(
    'RollbackFailed',
    'terminal',
    'the previous configuration was put back, but {unit} does not answer: {cause}',
    'Look at journalctl -u {unit} on the node; the previous file is kept at {backup}.',
  ),
  KATA_E_AWAITING_RESTART: entry(
    'AwaitingRestart',
    'retryable',
    'the configuration is in place; {unit} must be restarted and spec.engine.restart is Never',
    'Restart {unit} on the node, then annotate the KataNode with kata-operator.dev/retry.',
  ),
  KATA_E_RECOVERY: entry(
    'RecoveryFailed',
    'terminal',
    'an earlier run was interrupted, and what it had begun cannot be taken back: {cause}',
    'See kata-node status on the node; remove the cause and run it again, or take everything off with kata-node remove.',
  ),
  KATA_E_STATE_UNREADABLE: entry(
    'StateUnreadable',
    'terminal',
    '{path}, which says what was done to this host, cannot be read: {cause}',
    'Put a copy of it back, or take everything off with kata-node remove --force and apply again. kata-node status shows what is on the host.',
  ),
  KATA_E_NOTHING_ACTIVE: entry(
    'NothingActive',
    'terminal',
    'no revision is active on this host, so there is nothing to compare it with',
    'Name the plan with --plan; kata-node status shows what is on the host.',
  ),
  KATA_E_FILES_CHANGED: entry(
    'FilesChanged',
    'terminal',
    'not as it was unpacked: {path} ({count} differing): {files}',
    'Look at the disk and at who writes there. Then delete the file .complete in the directory of every version that is named, and run kata-node apply with the same plan: the version is unpacked anew, and sandboxes that run keep the old files.',
  ),
  KATA_E_IN_USE: entry(
    'VersionInUse',
    'retryable',
    'sandboxes still run from the files that would be removed: {users}',
    'Delete their Pods first; kata-node remove --force removes the files under them.',
  ),
  KATA_E_NO_PREVIOUS: entry(
    'NoPreviousRevision',
    'terminal',
    'there is nothing to go back to: {cause}',
    'Apply the plan that you want; kata-node status shows what is on the node.',
  ),
  KATA_E_CONFIG_EDITED: entry(
    'ConfigEditedByOthers',
    'terminal',
    '{file}: the block of kata-operator was changed by somebody else: {cause}',
    'Restore the block between the kata-operator markers, or remove it by hand.',
  ),
  KATA_E_CONFIG_CHANGED: entry(
    'ConfigChangedMeanwhile',
    'retryable',
    '{file} was changed by somebody else while it was about to be edited',
    'Nothing of their change was overwritten. Run it again when nobody else edits {file}.',
  ),
  KATA_E_BUSY: entry(
    'NodeBusy',
    'retryable',
    'another installer holds {lock}',
    'Wait for it to finish.',
  ),
  KATA_E_SANDBOX_NOT_ISOLATED: entry(
    'SandboxNotIsolated',
    'terminal',
    "handler {handler}: the kernel inside the sandbox is {kernel}, the same as the host's",
    'The runtime behind this handler is no sandbox; check the artifacts.',
  ),
} as const;
