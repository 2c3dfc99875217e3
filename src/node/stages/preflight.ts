/**
 * Preflight: can this node run what the plan asks for? Every check has a name and an error with a remedy.
 *
 * It never writes, and all checks run even when one fails, so that a person sees everything at once. Cheap
 * checks come first; each says what the rest of the program relies on.
 */
import type { NodeFacts, NodeResult } from '../../crds/nodeResult.ts';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import { UNKNOWN_NEED_BYTES, needOfArchives, needOfTree } from '../artifacts/need.ts';
import { requirePresent } from '../artifacts/present.ts';
import { findReusable } from '../artifacts/reuse.ts';
import { resolveArtifacts } from '../artifacts/source.ts';
import { readTree } from '../artifacts/tree.ts';
import { readVersion } from '../artifacts/version.ts';
import { type Engine, requireGuardPlace } from '../engine/index.ts';
import { resolveOnHost } from '../host/hostFile.ts';
import { freeSpace, requireSpace, requireSpaceBeside } from '../preflight/disk.ts';
import { platformFacts } from '../preflight/facts.ts';
import { imageVolumeProblem } from '../preflight/imageVolume.ts';
import { requireExecutable, requireWritable } from '../preflight/mounts.ts';
import { isInstalled } from '../transaction/installation.ts';
import { readState, type NodeState } from '../transaction/journal.ts';
import type { StageContext } from './context.ts';
import { ResultBuilder, StageFailure, outcomeBeforeWrites } from './resultBuilder.ts';

interface Gathered {
  readonly facts: NodeFacts;
  state?: NodeState | undefined;
  needBytes?: number;
  engine?: Engine;
}

interface Check {
  readonly name: string;
  run(context: StageContext, gathered: Gathered): Promise<void>;
}

const CHECKS: readonly Check[] = [
  // Whose machine this is (a node name outlives its machine), and whether anything of ours lies there.
  { name: 'Platform', run: gatherPlatform },
  // What an earlier run has written down can be read.
  { name: 'State', run: readOwnState },
  // Some runtimes exist on some architectures only; those that do not are left out, but one must remain.
  { name: 'Architecture', run: checkArchitecture },
  // An image-based system cannot be changed at run time; a hardened one may start no program there.
  { name: 'WritablePaths', run: checkPaths },
  // KVM answers its ioctl: a device file alone proves nothing.
  { name: 'KVM', run: checkKvm },
  // The artifacts are where the plan says; nothing is read from them yet.
  { name: 'ArtifactSource', run: measureArtifacts },
  // A full disk is noticed here, not after a gigabyte.
  { name: 'DiskSpace', run: checkDisk },
  // The engine that kubelet uses, in a version that we know.
  { name: 'Engine', run: findEngine },
  // Its configuration parses today: else a restart would take the node out, with or without us.
  { name: 'EngineConfiguration', run: checkEngine },
  // What would restore that configuration after a restart that goes wrong has a place to be.
  { name: 'EngineGuard', run: checkGuard },
];

export async function preflight(context: StageContext): Promise<NodeResult> {
  const builder = new ResultBuilder('preflight', context);
  const gathered: Gathered = { facts: builder.facts };
  const failures: StageFailure[] = [];
  for (const check of CHECKS) {
    try {
      await builder.timed(check.name, () => check.run(context, gathered));
    } catch (error) {
      if (!(error instanceof StageFailure)) throw error;
      failures.push(error);
    }
    if (context.signal.aborted) break;
  }
  // That a node cannot run Kata at all is the better answer than what else is wrong with it.
  const decisive =
    failures.find(({ error }) => outcomeBeforeWrites(error) === 'unsupported') ?? failures[0];
  return decisive === undefined
    ? builder.end('done')
    : builder.end(outcomeBeforeWrites(decisive.error), decisive);
}

async function gatherPlatform(
  { host, arch, kernel }: StageContext,
  { facts }: Gathered,
): Promise<void> {
  facts.installed = await isInstalled(host);
  Object.assign(facts, await platformFacts(host, arch, kernel));
}

async function readOwnState({ host }: StageContext, gathered: Gathered): Promise<void> {
  gathered.state = await readState(host);
}

function checkArchitecture({ plan, arch }: StageContext): Promise<void> {
  if (plan.runtimes.some(({ architectures }) => architectures.includes(arch)))
    return Promise.resolve();
  const handlers = plan.runtimes.map(({ handler }) => handler).join(', ');
  return Promise.reject(new KataError('KATA_E_NO_RUNTIME', { handlers, arch }));
}

async function checkPaths({ host }: StageContext): Promise<void> {
  await requireWritable(host, [HOST_PATHS.installation]);
  await requireExecutable(host, HOST_PATHS.installation);
}

async function checkKvm(
  { host, plan, probeKvm, signal }: StageContext,
  { facts }: Gathered,
): Promise<void> {
  const kvm = await probeKvm(host.at('/dev/kvm'), signal);
  facts.kvm = {
    usable: kvm.usable,
    ...(kvm.cause === undefined ? {} : { cause: kvm.cause.slice(0, 200) }),
  };
  if (!kvm.usable && plan.requireKVM)
    throw new KataError('KATA_E_NO_KVM', { cause: kvm.cause ?? 'the check gave no reason' });
}

async function measureArtifacts(context: StageContext, gathered: Gathered): Promise<void> {
  const { host, plan, signal } = context;
  const staged = gathered.state?.staged;
  // It is not mounted here, so that this stage can tell of a node that cannot mount it.
  const set =
    plan.artifacts.kind === 'image' ? undefined : await resolveArtifacts(context, false, signal);
  if (
    staged?.revision === plan.revision &&
    (await readVersion(host, staged.digest)) !== undefined
  ) {
    gathered.needBytes = 0;
  } else if (set === undefined) {
    gathered.needBytes = UNKNOWN_NEED_BYTES;
  } else if (set.kind === 'archives') {
    const wanted = set.archives.map(({ sha256 }) => sha256);
    const reusable = await findReusable(host, wanted);
    await requirePresent(set.archives, reusable);
    gathered.needBytes = needOfArchives(set.archives, reusable);
  } else {
    gathered.needBytes = needOfTree(await readTree(set, false, signal));
  }
}

async function checkDisk({ host }: StageContext, { needBytes }: Gathered): Promise<void> {
  if (needBytes !== undefined)
    requireSpace(await freeSpace(host, HOST_PATHS.installation), needBytes);
}

async function findEngine(
  { host, plan, engine, signal }: StageContext,
  gathered: Gathered,
): Promise<void> {
  const known = gathered.state?.engine?.engine;
  const found = await engine.discoverEngine(host, plan.engine, signal, known);
  gathered.engine = found;
  gathered.facts.engine = engineFacts(found);
  // Else kubelet could not start the next stage, and nobody would say why.
  const problem = imageVolumeProblem(plan.artifacts, found);
  if (problem !== undefined) throw problem;
}

async function checkEngine(
  { host, engine, signal }: StageContext,
  gathered: Gathered,
): Promise<void> {
  if (gathered.engine === undefined) return;
  const { configPath } = gathered.engine;
  await requireWritable(host, [configPath]);
  await requireSpaceBeside(host, await resolveOnHost(host, configPath));
  await engine.checkEngineConfig(host, gathered.engine, signal, gathered.state?.engine);
}

async function checkGuard({ host, plan }: StageContext, { engine }: Gathered): Promise<void> {
  if (engine !== undefined) await requireGuardPlace(host, engine, plan.engine.restart);
}

export function engineFacts({
  name,
  version,
  configPath,
  unit,
}: Engine): NonNullable<NodeFacts['engine']> {
  return { name, version, configPath, ...(unit === undefined ? {} : { unit }) };
}
