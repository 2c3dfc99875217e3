/**
 * Keeps the RuntimeClasses as wanted, and takes away those that are no longer wanted once no Pod uses them.
 * A class of the same name that somebody else made is left alone and reported.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KataDeploymentSpec } from '../../crds/kataDeployment.ts';
import type { OwnedView } from '../cache/views.ts';
import type { ForeignOwner, Observed } from '../deployment/observed.ts';
import type { ResolvedRuntime } from '../revision/plan.ts';
import type { Write } from '../writes.ts';
import { runtimeClassContent, runtimeClasses } from './desired.ts';

export interface ClassDecision {
  readonly writes: readonly Write[];
  /** Names in force. */
  readonly names: readonly string[];
  /** Names that somebody else owns. */
  readonly conflicts: readonly { readonly name: string; readonly owner: ForeignOwner }[];
}

export function ensureRuntimeClasses(
  o: Observed,
  spec: KataDeploymentSpec,
  runtimes: readonly ResolvedRuntime[],
): ClassDecision {
  const wanted = runtimeClasses(o.deployment.name, spec, runtimes);
  const free = wanted.filter((object) => !o.foreignClasses.has(object.metadata.name));
  const names = free.map((object) => object.metadata.name);
  const changed = free.filter((object) => {
    const there = o.runtimeClasses.find((view) => view.name === object.metadata.name);
    return there === undefined || !isDeepStrictEqual(there.content, runtimeClassContent(object));
  });
  const unwanted = o.runtimeClasses.filter((view) => !names.includes(view.name));
  return {
    writes: [
      ...changed.map((object): Write => ({ verb: 'apply', manager: 'spec', object })),
      ...unwanted.filter((view) => isUnused(o, view)).map(deletion),
    ],
    names,
    conflicts: wanted
      .map((object) => object.metadata.name)
      .filter((name) => o.foreignClasses.has(name))
      .map((name) => ({ name, owner: o.foreignClasses.get(name) })),
  };
}

export function deleteRuntimeClasses(o: Observed): {
  writes: readonly Write[];
  blockedBy: readonly string[];
} {
  const blockedBy = o.runtimeClasses.flatMap((view) => o.usage.byClass.get(view.name) ?? []);
  return { writes: o.runtimeClasses.filter((view) => isUnused(o, view)).map(deletion), blockedBy };
}

/** Not looked up is not the same as unused. */
function isUnused(o: Observed, view: OwnedView): boolean {
  return !view.deleting && o.usage.byClass.get(view.name)?.length === 0;
}

function deletion(view: OwnedView): Write {
  return { verb: 'delete', kind: 'RuntimeClass', name: view.name, uid: view.uid };
}
