/**
 * What the stage container needs to reach the artifacts, beside its plan: directories of the host, an image, a Secret,
 * a ConfigMap. Pure.
 *
 * None of it is in the plan: it changes nothing of what a node ends up with, so that a renewed password or certificate
 * moves no node. The controller knows the names of Secret and ConfigMap and never reads them.
 */
import { CA_KEY, MOUNTED_CONFIG_MAPS, MOUNTED_IMAGE, MOUNTED_SECRETS } from '../../crds/names.ts';
import type { KataDeploymentSpec } from '../../crds/kataDeployment.ts';

/** Mode of the files: for the one user of the container alone. */
const OWNER_ONLY = 0o400;

export interface SourceMounts {
  readonly volumes: readonly Record<string, unknown>[];
  readonly mounts: readonly Record<string, unknown>[];
  readonly args: readonly string[];
  /** For the image of an image volume. */
  readonly imagePullSecrets: readonly string[];
}

export const NO_SOURCE_MOUNTS: SourceMounts = {
  volumes: [],
  mounts: [],
  args: [],
  imagePullSecrets: [],
};

/** `hostRoot` is where the stage container has the root of the host. */
export function sourceMounts(
  { hostPath, image, sources, credentialsSecret, caConfigMap }: KataDeploymentSpec['artifacts'],
  hostRoot: string,
): SourceMounts {
  if (hostPath !== undefined) {
    const { path } = hostPath;
    return mounted('host-artifacts', { hostPath: { path } }, `${hostRoot}${path}`);
  }
  if (image !== undefined) {
    const { reference } = image;
    // By digest, so that what is there is what is wanted.
    const volume = { image: { reference, pullPolicy: 'IfNotPresent' } };
    return {
      ...mounted('image', volume, MOUNTED_IMAGE),
      imagePullSecrets: credentialsSecret === undefined ? [] : [credentialsSecret.name],
    };
  }
  if (sources === undefined) return NO_SOURCE_MOUNTS;
  return together([
    ...(credentialsSecret === undefined ? [] : [credentials(credentialsSecret.name)]),
    ...(caConfigMap === undefined ? [] : [certificates(caConfigMap.name)]),
  ]);
}

// Optional, both: without the object, kubelet would let the Pod wait without a word; kata-node says which one is missing.
function credentials(secretName: string): SourceMounts {
  const path = `${MOUNTED_SECRETS}/${secretName}`;
  const volume = { secret: { secretName, optional: true, defaultMode: OWNER_ONLY } };
  return { ...mounted('credentials', volume, path), args: ['--credentials', path] };
}

function certificates(name: string): SourceMounts {
  const path = `${MOUNTED_CONFIG_MAPS}/${name}`;
  const volume = { configMap: { name, optional: true, defaultMode: OWNER_ONLY } };
  return { ...mounted('certificates', volume, path), args: ['--ca', `${path}/${CA_KEY}`] };
}

function mounted(name: string, volume: object, mountPath: string): SourceMounts {
  return {
    ...NO_SOURCE_MOUNTS,
    volumes: [{ name, ...volume }],
    mounts: [{ name, mountPath, readOnly: true }],
  };
}

function together(parts: readonly SourceMounts[]): SourceMounts {
  return {
    volumes: parts.flatMap(({ volumes }) => volumes),
    mounts: parts.flatMap(({ mounts }) => mounts),
    args: parts.flatMap(({ args }) => args),
    imagePullSecrets: parts.flatMap(({ imagePullSecrets }) => imagePullSecrets),
  };
}
