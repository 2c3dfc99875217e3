/** Rows of the table of errors: bringing the files of Kata to a node. */
import { entry } from './entry.ts';

export const ARTIFACTS = {
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
} as const;
