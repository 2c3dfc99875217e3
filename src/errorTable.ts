/**
 * Every error that a user can meet, in one table: code, what it says, whether trying again can help,
 * the reason shown in conditions and results, and what to do next.
 *
 * Owns the wording; docs/reference/errors.md is made from it. It must never carry a secret: parameters are names,
 * paths, numbers and digests.
 */

/** How the caller should treat an error: `retryable` may pass by itself, `terminal` needs a change by a person. */
export type Disposition = 'retryable' | 'terminal';

interface ErrorEntry {
  /** UpperCamelCase, as Kubernetes reasons are: stable, shown in conditions, Events and results. */
  readonly reason: string;
  /** `{name}` is replaced by the parameter of that name. */
  readonly message: string;
  readonly remedy: string;
  readonly disposition: Disposition;
}

const entry = (
  reason: string,
  disposition: Disposition,
  message: string,
  remedy: string,
): ErrorEntry => ({
  reason,
  disposition,
  message,
  remedy,
});

export const ERRORS = {
  // Specification
  KATA_E_SPEC_INVALID: entry(
    'InvalidSpec',
    'terminal',
    '{field}: {cause}',
    'Correct {field} and apply again.',
  ),
  KATA_E_UNKNOWN_RUNTIME: entry(
    'UnknownRuntime',
    'terminal',
    'spec.runtimes: there is no Kata runtime named "{name}"{nearest}',
    'Use a name of the catalogue (docs/reference/runtimes.md), or set `base` to one for a name of your own.',
  ),
  KATA_E_NOT_IMPLEMENTED: entry(
    'NotImplemented',
    'terminal',
    '{fields}: accepted by the API, but this version of kata-operator does not act on it yet',
    'Remove the field; no node is touched while it is set.',
  ),
  KATA_E_VERSION_MISMATCH: entry(
    'VersionMismatch',
    'terminal',
    'spec.version is {wanted}, but the artifacts say {found}',
    'Set spec.version to {found} or leave it out.',
  ),
  // Preflight
  KATA_E_NO_KVM: entry(
    'NoKVM',
    'terminal',
    'KVM cannot be used: {cause}',
    'Enable virtualization in firmware (or nested virtualization in the cloud) and load kvm_intel or kvm_amd; nodes.requireKVM: false skips this check.',
  ),
  KATA_E_DISK_SPACE: entry(
    'InsufficientDisk',
    'retryable',
    '{path} has {haveBytes} bytes free; {needBytes} are needed',
    'Free space on that file system.',
  ),
  KATA_E_NOT_WRITABLE: entry(
    'ReadOnlyFilesystem',
    'terminal',
    '{path} cannot be written: {cause}',
    'kata-operator needs a writable {path} on the node; this system cannot be changed at run time.',
  ),
  KATA_E_NO_GUARD: entry(
    'NoRestartGuard',
    'terminal',
    '{path} cannot be written: {cause}; {engine} cannot be restarted safely without the unit there that would restore its configuration if the restart goes wrong',
    'Make {path} writable; where it belongs to the image of the system, set spec.engine.restart to Never and restart the engine yourself.',
  ),
  KATA_E_NOT_EXECUTABLE: entry(
    'NoExecFilesystem',
    'terminal',
    'no program below {path} can be started: {mountPoint} is mounted noexec',
    'Mount {mountPoint} without noexec, or give {path} a file system of its own.',
  ),
  KATA_E_ARCHITECTURE: entry(
    'WrongArchitecture',
    'terminal',
    '{file} is a {found} binary, but this node is {wanted}',
    'Use the artifacts for {wanted} (artifacts.sources[].arch says which archive is for which nodes).',
  ),
  KATA_E_ENGINE_NOT_FOUND: entry(
    'EngineNotFound',
    'terminal',
    'no container engine was found on this node: {cause}',
    'Start containerd, or name it with spec.engine (configPath, socket).',
  ),
  KATA_E_ENGINE_UNSUPPORTED: entry(
    'EngineUnsupported',
    'terminal',
    '{engine}: {cause}',
    'Use containerd 1.6 or newer, or exclude this node by spec.nodes.selector.',
  ),
  KATA_E_NO_RUNTIME: entry(
    'NoRuntimeForArchitecture',
    'terminal',
    'none of {handlers} exists for {arch}',
    'Add a runtime that exists for {arch}, or leave these nodes out by spec.nodes.selector.',
  ),
  // Artifacts
  KATA_E_ARTIFACT_FETCH: entry(
    'ArtifactUnavailable',
    'retryable',
    'cannot fetch {url}: {cause}',
    'Check the URL and that this node can reach it.',
  ),
  KATA_E_ARTIFACT_DIGEST: entry(
    'ArtifactDigestMismatch',
    'terminal',
    '{url} has sha256 {found}, but {wanted} was asked for',
    'Correct artifacts.sources[].sha256, or replace the archive.',
  ),
  KATA_E_ARTIFACT_FORMAT: entry(
    'ArtifactInvalid',
    'terminal',
    '{archive} is not a usable archive: {cause}',
    'Give a .tar.zst, .tar.xz or .tar.gz with the layout of kata-static.',
  ),
  KATA_E_ARTIFACT_HOSTILE: entry(
    'ArtifactRefused',
    'terminal',
    '{archive}: entry "{entry}" is refused: {cause}',
    'Do not use this archive: kata-static holds nothing of the kind.',
  ),
  KATA_E_ARTIFACT_INCOMPLETE: entry(
    'ArtifactIncomplete',
    'terminal',
    'the artifacts do not hold {file}, which handler {handler} needs',
    'Add the archive that carries it (kata-static or kata-go-static), or remove the runtime.',
  ),
  KATA_E_ARTIFACT_NOT_FOUND: entry(
    'ArtifactNotFound',
    'terminal',
    'no artifacts at {path}',
    'Correct artifacts.hostPath, or use a node image that bundles artifacts.',
  ),
  KATA_E_ARTIFACT_ACCESS: entry(
    'ArtifactAccessMissing',
    'retryable',
    '{object}: {cause}',
    'Create or correct it in the namespace of the node Pods; the next attempt reads it anew.',
  ),
  KATA_E_BUNDLE: entry(
    'BundleRefused',
    'terminal',
    'no bundle can be made of {name}: {cause}',
    'Name a new or empty directory, and each archive once, with --into DIR and FILE or URL#sha256=DIGEST.',
  ),
  KATA_E_IMAGE_VOLUME: entry(
    'ImageVolumeUnsupported',
    'terminal',
    'this node cannot mount an image as a volume: {cause}',
    'Use artifacts.sources or bundled artifacts, or nodes with Kubernetes 1.35 and containerd 2.1 or CRI-O 1.31, or newer.',
  ),
  // Configuration
  KATA_E_KATA_CONFIG: entry(
    'KataConfigInvalid',
    'terminal',
    '{file}: {cause}',
    'The artifacts are damaged or of an unknown version; use a released kata-static.',
  ),
  KATA_E_ENGINE_CONFIG_INVALID: entry(
    'EngineConfigInvalid',
    'terminal',
    '{file} does not parse: line {line}: {cause}',
    'Correct the file on the node; kata-operator has not changed it.',
  ),
  KATA_E_ENGINE_CONFIG_CONFLICT: entry(
    'EngineConfigConflict',
    'terminal',
    '{file}: {cause}',
    'Change the file as described; kata-operator does not edit what it cannot take back byte for byte.',
  ),
  KATA_E_ENGINE_REJECTED_CONFIG: entry(
    'EngineRejectedConfig',
    'terminal',
    '{engine} refused the configuration: {cause}',
    'Correct {file} on the node. The candidate was checked before it was put in place: the running engine was not touched.',
  ),
  // Activation
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
  // Fleet
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
  // Host and process
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
} as const satisfies Record<string, ErrorEntry>;
