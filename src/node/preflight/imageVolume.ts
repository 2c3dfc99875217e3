/**
 * Whether this node's engine can mount an image as a volume of a container. Kubelet's part cannot be seen from here:
 * it is what the controller judges by its version, and what shows as an empty mount.
 */
import type { PlanArtifacts } from '../../crds/nodePlan.ts';
import { KataError } from '../../errors.ts';
import { isAtLeast, type Engine, type EngineName } from '../engine/engine.ts';
import { describeEngine } from '../engine/index.ts';

/** Before, containerd fails to make the container, and kubelet tries for ever. */
const SINCE: Readonly<Record<EngineName, readonly [number, number]>> = {
  containerd: [2, 1],
  crio: [1, 31],
};

/** Undefined when it can. */
export function imageVolumeProblem({ kind }: PlanArtifacts, engine: Engine): KataError | undefined {
  if (kind !== 'image' || isAtLeast(engine, ...SINCE[engine.name])) return undefined;
  const cause = `its engine is ${describeEngine(engine)}`;
  return new KataError('KATA_E_IMAGE_VOLUME', { cause });
}
