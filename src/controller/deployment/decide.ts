/**
 * The decision about one KataDeployment: a pure function of what was observed and of the time.
 *
 * Order matters where something must be there before something else: finalizer before the first write to
 * a node, plan and DaemonSet before the claim that selects them, everything else before the finalizer goes.
 */
import { ANNOTATION, approvedWave, FINALIZER } from '../../crds/names.ts';
import { kataDeploymentSpec, type KataDeploymentSpec } from '../../crds/kataDeployment.ts';
import { notImplementedFields } from '../../crds/notImplemented.ts';
import { KataError } from '../../errors.ts';
import { installOnNode, revisionDue } from '../nodes/installation.ts';
import { isRemovable, removeFromNode, type Removal } from '../nodes/removal.ts';
import { installRevision, resolveRuntimes, type Revision } from '../revision/plan.ts';
import { decideRollout, type RolloutDecision } from '../rollout/decide.ts';
import { windowsError } from '../rollout/windows.ts';
import type { Decision, Write } from '../writes.ts';
import { membership, type Membership } from './members.ts';
import { collectRevisions, ensureRevisions } from '../revision/decide.ts';
import { isServed, nudges } from '../revision/served.ts';
import { deleteRuntimeClasses, ensureRuntimeClasses } from '../runtimeclass/decide.ts';
import type { Observed } from './observed.ts';
import { installedStatus, refusedStatus, uninstallStatus, statusWrites } from './status.ts';
import { wakeAfterMs } from './wake.ts';

export function decide(o: Observed, nowMs: number): Decision {
  if (o.deployment.deleting)
    return o.deployment.finalizers.includes(FINALIZER) ? uninstall(o, nowMs) : nothing();
  if (!o.deployment.finalizers.includes(FINALIZER))
    return { writes: [finalizerWrite(o, true)], wakeAfterMs: undefined };
  const accepted = accept(o, nowMs);
  if (accepted instanceof KataError) return refuse(o, accepted, nowMs);
  return install(o, accepted.spec, accepted.revision, nowMs);
}

interface Accepted {
  readonly spec: KataDeploymentSpec;
  readonly revision: Revision;
}

/** What the API server could not check: names of the catalogue, and fields that this version does not act on. */
function accept(o: Observed, nowMs: number): Accepted | KataError {
  if (!o.parsed.ok) return o.parsed.error;
  const { spec } = o.parsed;
  const windows = windowsError(spec.rollout.windows, nowMs);
  if (windows !== undefined) return windows;
  const fields = notImplementedFields(spec);
  if (fields.length > 0)
    return new KataError('KATA_E_NOT_IMPLEMENTED', { fields: fields.join(', ') });
  try {
    return { spec, revision: installRevision(o.deployment.name, spec, o.settings.image) };
  } catch (error) {
    if (error instanceof KataError) return error;
    throw error;
  }
}

function install(
  o: Observed,
  spec: KataDeploymentSpec,
  revision: Revision,
  nowMs: number,
): Decision {
  const target = revision.name;
  const members = membership(o, spec, target, nowMs);
  const rollout = rolloutOf(o, spec, members, target, nowMs);
  const claimable = rollout.claim.filter((member) =>
    isServed(o, revisionDue(member, target) ?? target, member.node.name),
  );
  const claimed = new Set(claimable.map(({ node }) => node.name));
  const removals = removalsOf(o, members, rollout, spec.rollout.paused, nowMs);
  const classes = ensureRuntimeClasses(o, spec, resolveRuntimes(spec));
  const writes: Write[] = [
    ...ensureRevisions(o, spec, revision, members),
    ...classes.writes,
    ...orphanWrites(members),
    ...members.pool.flatMap((member) =>
      installOnNode(o, member, target, claimed.has(member.node.name), nowMs),
    ),
    ...removals.flatMap((removal) => removal.writes),
    ...nudges(o, members, nowMs),
    ...collectRevisions(o, target, members),
  ];
  const status = installedStatus(o, {
    spec,
    target,
    members,
    rollout,
    classes,
    removals,
    nowMs,
  });
  return {
    writes: [...writes, ...statusWrites(o, status)],
    wakeAfterMs: wakeAfterMs(members, rollout.blocked?.untilMs, nowMs),
  };
}

/**
 * A bad specification starts nothing and undoes nothing: nodes keep what they have, and what is under way on
 * them is followed to its end.
 */
function refuse(o: Observed, error: KataError, nowMs: number): Decision {
  const members = membership(o, specOrDefaults(o), NO_REVISION, nowMs);
  const begun = members.leaving.filter(({ state }) => state === 'removing');
  const removals = removalsOf(o, { ...members, leaving: begun }, NOBODYS_TURN, true, nowMs);
  const writes = [
    ...members.pool.flatMap((member) => installOnNode(o, member, NO_REVISION, false, nowMs)),
    ...removals.flatMap((removal) => removal.writes),
  ];
  return {
    writes: [...writes, ...statusWrites(o, refusedStatus(o, error, nowMs))],
    wakeAfterMs: wakeAfterMs(members, undefined, nowMs),
  };
}

function uninstall(o: Observed, nowMs: number): Decision {
  const spec = specOrDefaults(o);
  const members = membership(o, spec, NO_REVISION, nowMs);
  const rollout = rolloutOf(o, spec, members, NO_REVISION, nowMs);
  const removals = removalsOf(o, members, rollout, false, nowMs);
  const nodesLeft = members.leaving.length > 0 || members.orphans.length > 0;
  const writes: Write[] = [
    ...(nodesLeft ? ensureRevisions(o, spec, undefined, members) : []),
    ...orphanWrites(members),
    ...removals.flatMap((removal) => removal.writes),
    ...nudges(o, members, nowMs),
    ...collectRevisions(o, undefined, members),
  ];
  const classes = nodesLeft ? { writes: [], blockedBy: [] } : deleteRuntimeClasses(o);
  const objectsLeft = [...o.daemonSets, ...o.configMaps, ...o.runtimeClasses].length > 0;
  const podsLeft = endingPods(o);
  if (!nodesLeft && !objectsLeft && podsLeft === 0)
    return { writes: [finalizerWrite(o, false)], wakeAfterMs: undefined };
  const blockedBy = [...removals.flatMap((removal) => removal.blockedBy), ...classes.blockedBy];
  const status = uninstallStatus(o, members, { blockedBy, podsLeft }, nowMs);
  return {
    writes: [...writes, ...classes.writes, ...statusWrites(o, status)],
    wakeAfterMs: UNINSTALL_POLL_MS,
  };
}

function rolloutOf(
  o: Observed,
  spec: KataDeploymentSpec,
  members: Membership,
  target: string,
  nowMs: number,
): RolloutDecision {
  return decideRollout({
    pool: members.pool,
    leaving: members.leaving,
    isRemovable: (member) => isRemovable(o, member),
    policy: spec.rollout,
    deployment: o.deployment.name,
    target,
    approvedWave: approvedWave(o.deployment.annotations[ANNOTATION.approve], target),
    uninstalling: o.deployment.deleting,
    nowMs,
  });
}

function removalsOf(
  o: Observed,
  { leaving }: Membership,
  { remove }: Pick<RolloutDecision, 'remove'>,
  paused: boolean,
  nowMs: number,
): Removal[] {
  return leaving.map((member) =>
    removeFromNode(o, member, { mine: remove.includes(member), paused }, nowMs),
  );
}

const NOBODYS_TURN: Pick<RolloutDecision, 'remove'> = { remove: [] };

/**
 * Pods of ours that nodes still run: they mount the host, and who deletes a KataDeployment expects nothing to be
 * left. A node that does not answer ends no Pod; it must not hold up the others for ever.
 */
function endingPods(o: Observed): number {
  const answering = o.nodes.filter(({ ready }) => ready);
  return answering.reduce((sum, { name }) => sum + (o.pods.get(name) ?? []).length, 0);
}

/** Pods that hold a removal back are not watched: they are looked up at this pace. */
const UNINSTALL_POLL_MS = 3_000;

function nothing(): Decision {
  return { writes: [], wakeAfterMs: undefined };
}

function orphanWrites({ orphans }: Membership): Write[] {
  return orphans.map((kataNode) => ({
    verb: 'delete',
    kind: 'KataNode',
    name: kataNode.name,
    uid: kataNode.uid,
  }));
}

function finalizerWrite(o: Observed, present: boolean): Write {
  const { name, uid, resourceVersion, finalizers } = o.deployment;
  const others = finalizers.filter((finalizer) => finalizer !== FINALIZER);
  return {
    verb: 'finalizers',
    kind: 'KataDeployment',
    name,
    uid,
    seen: resourceVersion,
    finalizers: present ? [...others, FINALIZER] : others,
  };
}

/** What must go on whatever became of the specification goes on with the defaults. */
function specOrDefaults(o: Observed): KataDeploymentSpec {
  return o.parsed.ok ? o.parsed.spec : DEFAULT_SPEC;
}

const DEFAULT_SPEC = kataDeploymentSpec.parse({});
/** No node is at it: nothing is a target. */
const NO_REVISION = '';
