/**
 * Stage: the artifacts of the plan as a complete version on the host. The engine is not touched, and
 * nothing that it may refer to is written.
 */
import type { NodeResult } from '../../crds/nodeResult.ts';
import { inspectTree } from '../artifacts/inspect.ts';
import { artifactSteps, discardDownloads, type Content } from '../artifacts/install.ts';
import { resolveArtifacts, versionDigest } from '../artifacts/source.ts';
import { readTree, treeDigest } from '../artifacts/tree.ts';
import { collectPartials, readVersion, versionPath } from '../artifacts/version.ts';
import { KataError } from '../../errors.ts';
import { prepareInstallation } from '../transaction/installation.ts';
import { StateFile } from '../transaction/journal.ts';
import { runTransaction } from '../transaction/runner.ts';
import type { StageContext } from './context.ts';
import { exclusively, requireOwnership, writeDown } from './exclusive.ts';
import { ResultBuilder, asFailure, outcomeBeforeWrites } from './resultBuilder.ts';

export async function stage(context: StageContext): Promise<NodeResult> {
  const builder = new ResultBuilder('stage', context);
  try {
    await builder.timed('Installation', () => prepareInstallation(context.host));
    return await exclusively(context, () => stageLocked(context, builder));
  } catch (error) {
    const failure = asFailure(error, 'Lock');
    return builder.end(outcomeBeforeWrites(failure.error), failure);
  }
}

interface Wanted {
  readonly digest: string;
  readonly content: Content;
}

async function stageLocked(context: StageContext, builder: ResultBuilder): Promise<NodeResult> {
  const { host, plan, arch, access = {}, attempt, signal, observe } = context;
  const journal = new StateFile(host);
  const wanted = await builder.timed('ArtifactSource', async () => {
    requireOwnership(await journal.read(), plan.deployment);
    return resolveContent(context);
  });
  await journal.update((state) => ({ ...state, deployment: plan.deployment }));
  await journal.begin('stage', attempt);
  // Before it is asked whether there is room: what was left takes some.
  await collectPartials(host, wanted.digest);
  const report = await runTransaction(artifactSteps({ host, plan, arch, access, ...wanted }), {
    journal,
    observe,
    signal,
  });
  builder.add(report);
  try {
    if (report.failure !== undefined)
      return builder.end(outcomeBeforeWrites(report.failure.error), report.failure);
    await builder.timed('Handlers', () => recordStaged(context, builder, journal, wanted.digest));
    return builder.end('done');
  } finally {
    await writeDown(context, () => journal.end());
  }
}

async function resolveContent(context: StageContext): Promise<Wanted> {
  const { signal } = context;
  const set = await resolveArtifacts(context, true, signal);
  if (set.kind === 'archives') {
    const { archives } = set;
    const digest = versionDigest(
      'archives',
      archives.map(({ sha256 }) => sha256),
    );
    return { digest, content: { archives } };
  }
  const tree = await readTree(set, true, signal);
  return { digest: treeDigest(tree), content: { tree } };
}

/** Also for a version that was there already: another plan may ask for other handlers. */
async function recordStaged(
  { host, plan, arch }: StageContext,
  builder: ResultBuilder,
  journal: StateFile,
  digest: string,
): Promise<void> {
  const summary = await readVersion(host, digest);
  if (summary === undefined)
    throw new KataError('KATA_E_ARTIFACT_NOT_FOUND', { path: versionPath(digest) });
  const { version } = summary;
  if (plan.version !== undefined && plan.version !== version)
    throw new KataError('KATA_E_VERSION_MISMATCH', { wanted: plan.version, found: version });
  const offer = await inspectTree(host, versionPath(digest), plan, arch);
  builder.skippedHandlers = offer.skippedHandlers;
  builder.facts.artifacts = { version, digest };
  const staged = { revision: plan.revision, digest, version };
  await journal.update((state) => ({
    ...state,
    staged,
    ...(state.staged === undefined || state.staged.revision === plan.revision
      ? {}
      : { overtaken: state.staged }),
  }));
  await discardDownloads(host);
}
