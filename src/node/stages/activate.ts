/**
 * Activate: the engine serves the handlers of the plan from the staged version.
 *
 * Order is safety: configuration files first, then the engine, then the link for people. When a step
 * fails, everything is taken back. An attempt that ended badly is never repeated: its answer is kept.
 */
import type { NodeResult, Outcome } from '../../crds/nodeResult.ts';
import { KataError } from '../../errors.ts';
import { inspectTree } from '../artifacts/inspect.ts';
import { readVersion, versionPath } from '../artifacts/version.ts';
import {
  DEFAULT_HANDLER,
  revisionContent,
  type RevisionContent,
} from '../configuration/handlers.ts';
import { configurationStep, currentLinkStep } from '../configuration/steps.ts';
import type { Engine, HandlerRegistration } from '../engine/index.ts';
import type { Host } from '../host/host.ts';
import { existsOnHost } from '../host/hostFile.ts';
import { prepareInstallation } from '../transaction/installation.ts';
import {
  StateFile,
  type Installed,
  type NodeState,
  type Transaction,
  type Wish,
} from '../transaction/journal.ts';
import { runTransaction, type TransactionFailure } from '../transaction/runner.ts';
import type { Step } from '../transaction/step.ts';
import { collectOld } from './collectOld.ts';
import type { StageContext } from './context.ts';
import { exclusively, requireOwnership, writeDown } from './exclusive.ts';
import { engineFacts } from './preflight.ts';
import { recover } from './recovery.ts';
import { ResultBuilder, asFailure, outcomeBeforeWrites } from './resultBuilder.ts';
import { isSameWish, withoutSource } from './wish.ts';

export interface Activation {
  readonly engine: Engine;
  readonly content: RevisionContent;
  readonly installed: Installed;
  readonly skippedHandlers: readonly string[];
  readonly steps: readonly Step[];
  readonly wish: Wish;
  readonly isRollback?: boolean;
}

/** Result, and the files whose change means that the node is no longer as it was left. */
export interface Activated {
  readonly result: NodeResult;
  readonly watched: readonly string[];
}

export async function activate(context: StageContext): Promise<Activated> {
  const builder = new ResultBuilder('activate', context);
  try {
    await builder.timed('Installation', () => prepareInstallation(context.host));
    return await exclusively(context, (open) => activateLocked(context, builder, open));
  } catch (error) {
    const failure = asFailure(error, 'Lock');
    return { result: builder.end(outcomeBeforeWrites(failure.error), failure), watched: [] };
  }
}

async function activateLocked(
  context: StageContext,
  builder: ResultBuilder,
  open: Transaction | undefined,
): Promise<Activated> {
  const journal = new StateFile(context.host);
  const latched = latchedAnswer(await journal.read(), context);
  if (latched !== undefined) return { result: latched, watched: [] };
  const activation = await prepareActivation(context, builder, journal);
  return carryOut(context, builder, journal, activation, open);
}

/** Runs the transaction, or the rest of the one that was interrupted, and writes down how it ended. */
export async function carryOut(
  context: StageContext,
  builder: ResultBuilder,
  journal: StateFile,
  activation: Activation,
  open: Transaction | undefined,
): Promise<Activated> {
  const { attempt, signal, observe } = context;
  const { wish, steps } = activation;
  builder.skippedHandlers = activation.skippedHandlers;
  const resumed = open !== undefined && isSameWish(open, wish) ? open.steps : undefined;
  // The plan is the same and the artifacts are not: as far as the engine goes, that is another wish.
  if (open !== undefined && resumed === undefined) await recover(context, { keeps: () => false });
  const report = await runTransaction(steps, {
    journal: await journal.open('activate', attempt, wish, resumed),
    observe,
    signal,
    ...(resumed === undefined ? {} : { recorded: resumed }),
  });
  builder.add(report);
  const result =
    report.failure === undefined
      ? await concluded(context, builder, activation)
      : failed(builder, report.failure);
  await writeDown(context, () =>
    report.failure?.undoError === undefined
      ? journal.conclude((state) => stateAfter(state, result, activation), result)
      : journal.latch(result),
  );
  const state = await journal.read();
  const watched = await watchedFiles(context, activation, state.engine?.original.path);
  if (result.outcome !== 'done') return { result, watched };
  await collectOld(context, builder, state);
  return { result: builder.completed(result), watched };
}

/** `edited` is a drop-in where the engine's own file was not touched; some engines do without that one. */
async function watchedFiles(
  { host }: StageContext,
  { engine, content }: Activation,
  edited: string | undefined,
): Promise<string[]> {
  const { configPath } = engine;
  return [
    ...(edited === undefined || (await existsOnHost(host, configPath)) ? [configPath] : []),
    ...(edited === undefined ? [] : [edited]),
    ...content.registrations.map(({ shimPath }) => shimPath),
    ...content.files.map(({ path }) => path),
  ];
}

/**
 * A re-run of an attempt that ended badly (kubelet started the Pod's containers again) answers as it did
 * then. One that was only stopped, by a shutdown of the node, goes on.
 */
function latchedAnswer({ latched }: NodeState, { attempt }: StageContext): NodeResult | undefined {
  if (latched?.attempt !== attempt || latched.stage !== 'activate') return undefined;
  if (latched.error?.code === 'KATA_E_INTERRUPTED') return undefined;
  return ['refused', 'rolledBack', 'failed'].includes(latched.outcome) ? latched : undefined;
}

/** Everything that must be known before the first write. Throws StageFailure. */
export async function prepareActivation(
  context: StageContext,
  builder: ResultBuilder,
  journal: StateFile,
  choose = stagedVersion,
): Promise<Activation> {
  const { host, plan, arch, signal } = context;
  const { state, installed } = await builder.timed('StagedVersion', async () => {
    const state = await journal.read();
    requireOwnership(state, plan.deployment);
    return { state, installed: await choose(context, state) };
  });
  builder.facts.artifacts = { version: installed.version, digest: installed.digest };
  const engine = await builder.timed('Engine', () =>
    context.engine.discoverEngine(host, plan.engine, signal, state.engine?.engine),
  );
  builder.facts.engine = engineFacts(engine);
  const { content, skippedHandlers } = await builder.timed('Handlers', async () => {
    const offer = await inspectTree(host, versionPath(installed.digest), plan, arch);
    const content = await revisionContent(host, plan, offer.runtimes, installed.digest);
    return {
      content,
      skippedHandlers: [...offer.skippedHandlers, ...missingDefault(plan, content)],
    };
  });
  const engineSteps = context.engine.installSteps({
    host,
    engine,
    registrations: content.registrations,
    owner: plan.deployment,
    restart: plan.engine.restart,
    record: journal.engineRecord(),
  });
  const steps = [
    configurationStep(host, content),
    ...engineSteps,
    currentLinkStep(host, installed.digest),
  ];
  const wish = {
    plan: withoutSource(plan),
    activation: { installed, registrations: content.registrations.map(withOwnAnnotations) },
  };
  return { engine, content, installed, skippedHandlers, steps, wish };
}

function withOwnAnnotations(registration: HandlerRegistration) {
  return { ...registration, podAnnotations: [...registration.podAnnotations] };
}

/** The default handler goes with the runtime that it is a copy of. */
function missingDefault(
  { defaultRuntime }: StageContext['plan'],
  { registrations }: RevisionContent,
): string[] {
  const isThere = registrations.some(({ handler }) => handler === DEFAULT_HANDLER);
  return defaultRuntime === undefined || isThere ? [] : [DEFAULT_HANDLER];
}

async function stagedVersion(
  { host, plan }: StageContext,
  { staged, overtaken, active }: NodeState,
): Promise<Installed> {
  const known = [staged, overtaken, active];
  const wanted = known.find((candidate) => candidate?.revision === plan.revision);
  if (wanted === undefined)
    throw new KataError('KATA_E_ARTIFACT_NOT_FOUND', {
      path: `a staged version of revision ${plan.revision}`,
    });
  return completeVersion(host, wanted);
}

/** Throws KATA_E_ARTIFACT_NOT_FOUND when it is no longer there. */
export async function completeVersion(
  host: Host,
  { revision, digest, version }: Installed,
): Promise<Installed> {
  if ((await readVersion(host, digest)) === undefined)
    throw new KataError('KATA_E_ARTIFACT_NOT_FOUND', { path: versionPath(digest) });
  return { revision, digest, version };
}

/** Reports as verified only what the engine says it serves, now. */
async function concluded(
  { host, engine: port, signal }: StageContext,
  builder: ResultBuilder,
  { engine, content }: Activation,
): Promise<NodeResult> {
  const ours = content.registrations.map(({ handler }) => handler);
  if (!engine.running) return builder.end('done');
  try {
    const served = new Set(
      await builder.timed('ServedHandlers', () => port.servedHandlers(host, engine, signal)),
    );
    builder.handlers = ours.filter((handler) => served.has(handler));
    return builder.end('done');
  } catch (error) {
    // The transaction stands: its own check has seen the handlers. What is unknown is not reported as verified.
    return builder.end('failed', asFailure(error, 'ServedHandlers'));
  }
}

const ENGINE_STEPS: ReadonlySet<string> = new Set(['EngineConfiguration', 'EngineRestart']);

/** What a failed transaction means for the node. */
export function outcomeOfFailure({
  error,
  applied,
  undoError,
  undone,
}: TransactionFailure): Outcome {
  if (!undone) return 'awaitingRestart';
  if (undoError !== undefined) return 'failed';
  return applied.some((step) => ENGINE_STEPS.has(step)) ? 'rolledBack' : outcomeBeforeWrites(error);
}

export function failed(builder: ResultBuilder, failure: TransactionFailure): NodeResult {
  const { step, error, undoError } = failure;
  return builder.end(outcomeOfFailure(failure), { step, error: undoError ?? error });
}

function stateAfter(
  state: NodeState,
  { outcome, handlers }: NodeResult,
  { installed, content, wish, isRollback = false }: Activation,
): NodeState {
  if (outcome !== 'done' && outcome !== 'awaitingRestart') return state;
  const { active, previous } = state;
  const wanted = content.registrations.map(({ handler }) => handler);
  const before = active === undefined || isSame(active, installed) ? previous : active;
  return {
    ...state,
    active: {
      ...installed,
      handlers: outcome === 'done' ? [...handlers] : wanted,
      plan: wish.plan,
    },
    ...(before === undefined ? {} : { previous: before }),
    rolledBack: isRollback,
  };
}

function isSame(left: Installed, right: Installed): boolean {
  return left.revision === right.revision && left.digest === right.digest;
}
