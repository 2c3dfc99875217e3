/**
 * Fields that the API knows and this version does not act on. A field that is set and ignored would be
 * a lie, so the controller refuses the whole spec and names them.
 *
 * One line per field: whoever implements one removes its line.
 */
import type { KataDeploymentSpec, RuntimeSpec } from './kataDeployment.ts';

interface Unimplemented<T> {
  /** Below `spec.`, or below `spec.runtimes[i].`. */
  readonly path: string;
  readonly isSet: (of: T) => boolean;
}

const OF_SPEC: readonly Unimplemented<KataDeploymentSpec>[] = [
  { path: 'nodes.adopt', isSet: ({ nodes }) => nodes.adopt },
  { path: 'rollout.drain.enabled', isSet: ({ rollout }) => rollout.drain.enabled },
  { path: 'verify', isSet: ({ verify }) => verify === 'Sandbox' },
  { path: 'overhead', isSet: ({ overhead }) => overhead === 'Recommend' },
  { path: 'uninstall.policy', isSet: ({ uninstall }) => uninstall.policy !== 'Wait' },
];

const OF_RUNTIME: readonly Unimplemented<RuntimeSpec>[] = [
  { path: 'config', isSet: ({ config }) => Object.keys(config ?? {}).length > 0 },
  { path: 'extraToml', isSet: ({ extraToml }) => (extraToml ?? '') !== '' },
  { path: 'allowedAnnotations', isSet: ({ allowedAnnotations }) => allowedAnnotations.length > 0 },
  {
    path: 'snapshotter.provision',
    isSet: ({ snapshotter }) => snapshotter?.provision === 'WhenNeeded',
  },
  {
    path: 'runtimeClass.perArchitecture',
    isSet: ({ runtimeClass }) => runtimeClass.perArchitecture,
  },
];

/** Paths of the fields that are set to something else than their default, in the order of the table. Empty: all is done. */
export function notImplementedFields(spec: KataDeploymentSpec): string[] {
  const ofRuntimes = (spec.runtimes ?? []).flatMap((runtime, index) =>
    OF_RUNTIME.filter(({ isSet }) => isSet(runtime)).map(
      ({ path }) => `spec.runtimes[${String(index)}].${path}`,
    ),
  );
  const ofSpec = OF_SPEC.filter(({ isSet }) => isSet(spec)).map(({ path }) => `spec.${path}`);
  return [...ofSpec, ...ofRuntimes];
}

/** Every path of the table, for the reference. */
export const NOT_IMPLEMENTED: readonly string[] = [
  ...OF_SPEC.map(({ path }) => `spec.${path}`),
  ...OF_RUNTIME.map(({ path }) => `spec.runtimes[].${path}`),
];
