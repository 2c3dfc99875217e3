/** Rows of the table of errors: what a node lacks, found before its first write. */
import { entry } from './entry.ts';

export const PREFLIGHT = {
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
} as const;
