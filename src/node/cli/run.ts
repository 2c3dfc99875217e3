/**
 * Runs one command: reads the plan, calls the stages, tells people and the controller what came of it.
 *
 * Owns exit codes and everything that is printed. No stack trace leaves this program: an error that is not
 * of the table is KATA_E_INTERNAL, in one line.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { nodePlan, type NodePlan } from '../../crds/nodePlan.ts';
import {
  RESULT_VERSION,
  type NodeResult,
  type Outcome,
  type Stage,
} from '../../crds/nodeResult.ts';
import { KataError, causeOf, toKataError } from '../../errors.ts';
import { goArchitecture } from '../artifacts/architecture.ts';
import { lockFiles, probeKvm } from '../host/helper.ts';
import { hostAt } from '../host/host.ts';
import { activate } from '../stages/activate.ts';
import type { EnginePort, StageContext } from '../stages/context.ts';
import { leaveFingerprint, leaveResult, stageInTheWay } from '../stages/handoff.ts';
import { describeStatus, hostStatus, planned, verify } from '../stages/inspectHost.ts';
import { resultMessage } from '../stages/message.ts';
import { preflight } from '../stages/preflight.ts';
import { remove } from '../stages/remove.ts';
import { ResultBuilder, StageFailure } from '../stages/resultBuilder.ts';
import { stage } from '../stages/stage.ts';
import { USAGE, UsageError, parseOptions, type Command, type Options } from './options.ts';
import { Printer, type Output } from './printer.ts';

/** What a run needs from outside; the program's own entry gives the real ones. */
export interface Surroundings {
  readonly engine: EnginePort;
  readonly output: Output;
  readonly signal: AbortSignal;
}

const EXIT: Readonly<Record<Outcome, number>> = {
  done: 0,
  unsupported: 2,
  refused: 2,
  skipped: 2,
  rolledBack: 3,
  failed: 4,
  awaitingRestart: 4,
};
const EXIT_USAGE = 2;

/** A stage that takes longer is broken: a slow disk writes a release in a few minutes. */
const STAGE_DEADLINE_MS = 20 * 60_000;

/** Returns the exit code. Never throws. */
export async function run(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { output } = surroundings;
  let options: Options;
  try {
    options = parseOptions(args);
  } catch (error) {
    output.err(
      `kata-node: ${error instanceof UsageError ? error.message : causeOf(error)}\n\n${USAGE}`,
    );
    return EXIT_USAGE;
  }
  const printer = new Printer(output, options.output);
  try {
    const code = await runCommand(options, surroundings, printer);
    return options.result === undefined ? code : 0;
  } catch (error) {
    const problem = error instanceof StageFailure ? error.error : toKataError(error);
    printer.problem(problem);
    if (options.result === undefined) return EXIT.refused;
    await writeFile(options.result, resultMessage(resultOfProblem(options, problem))).catch(
      (failed: unknown) => {
        output.err(`kata-node: ${causeOf(failed)}\n`);
      },
    );
    return 0;
  }
}

async function runCommand(
  options: Options,
  surroundings: Surroundings,
  printer: Printer,
): Promise<number> {
  if (options.command === 'status') {
    const wanted = options.plan === undefined ? undefined : (await readPlan(options.plan)).engine;
    const status = await hostStatus(
      hostAt(options.root),
      surroundings.engine,
      wanted,
      surroundings.signal,
    );
    printer.report(status, describeStatus(status));
    return 0;
  }
  if (options.command === 'rollback')
    throw new KataError('KATA_E_NOT_IMPLEMENTED', { fields: 'rollback' });
  const context = await contextOf(options, surroundings, printer);
  if (options.command === 'plan') return showPlan(context, printer);
  const result = await runStages(options, context);
  printer.result(result);
  if (options.result !== undefined) await writeFile(options.result, resultMessage(result));
  return EXIT[result.outcome];
}

/** The stages of a command, until one does not end well. */
const STAGES_OF: Readonly<
  Record<Exclude<Command, 'plan' | 'status' | 'rollback' | 'verify'>, readonly Stage[]>
> = {
  preflight: ['preflight'],
  stage: ['stage'],
  activate: ['activate'],
  apply: ['preflight', 'stage', 'activate'],
  remove: ['remove'],
};

async function runStages(
  { command, handoff }: Options,
  context: StageContext,
): Promise<NodeResult> {
  if (command === 'verify' || command === 'plan' || command === 'status' || command === 'rollback')
    return verify(context);
  const results: NodeResult[] = [];
  for (const name of STAGES_OF[command]) {
    const result = await runStage(name, handoff, context);
    results.push(result);
    if (result.outcome !== 'done') break;
  }
  return merge(results);
}

async function runStage(
  name: Stage,
  handoff: string | undefined,
  context: StageContext,
): Promise<NodeResult> {
  if (handoff === undefined) return (await STAGE[name](context)).result;
  const inTheWay = await stageInTheWay(handoff, name, context.attempt);
  if (inTheWay !== undefined) return new ResultBuilder(name, context).end('skipped');
  const { result, watched } = await STAGE[name](context);
  if (watched !== undefined && result.outcome === 'done')
    await leaveFingerprint(handoff, context.host, watched);
  await leaveResult(handoff, result);
  return result;
}

const STAGE: Readonly<
  Record<
    Stage,
    (context: StageContext) => Promise<{ result: NodeResult; watched?: readonly string[] }>
  >
> = {
  preflight: async (context) => ({ result: await preflight(context) }),
  stage: async (context) => ({ result: await stage(context) }),
  activate,
  remove: async (context) => ({ result: await remove(context) }),
};

/** By hand several stages run in one go: the last one's result, with the steps and facts of all. */
function merge(results: readonly NodeResult[]): NodeResult {
  const [first, ...rest] = results;
  if (first === undefined) throw new KataError('KATA_E_INTERNAL', { cause: 'no stage ran' });
  return rest.reduce(
    (sum, next) => ({
      ...next,
      steps: [...sum.steps, ...next.steps],
      facts: { ...sum.facts, ...next.facts },
      bytesWritten: sum.bytesWritten + next.bytesWritten,
      durationMs: sum.durationMs + next.durationMs,
    }),
    first,
  );
}

async function showPlan(context: StageContext, printer: Printer): Promise<number> {
  const checked = await preflight(context);
  if (checked.outcome !== 'done') {
    printer.result(checked);
    return EXIT[checked.outcome];
  }
  const steps = await planned(context).catch((error: unknown) => {
    if (error instanceof StageFailure && error.error.code === 'KATA_E_ARTIFACT_NOT_FOUND')
      return undefined;
    throw error;
  });
  const lines = steps?.map(
    ({ step, wouldChange }) => `${step}: ${wouldChange ? 'would change' : 'nothing to do'}`,
  );
  printer.report(
    { staged: steps !== undefined, steps: steps ?? [] },
    lines ?? ['The artifacts are not staged: apply would bring them, then configure the engine.'],
  );
  return 0;
}

async function contextOf(
  options: Options,
  { engine, signal }: Surroundings,
  printer: Printer,
): Promise<StageContext> {
  if (options.plan === undefined)
    throw new KataError('KATA_E_PLAN_INVALID', { file: '--plan', cause: 'a plan is needed' });
  return {
    host: hostAt(options.root),
    plan: await readPlan(options.plan),
    attempt: options.attempt,
    arch: goArchitecture(process.arch),
    kernel: release(),
    signal: AbortSignal.any([signal, AbortSignal.timeout(STAGE_DEADLINE_MS)]),
    bundleDirectory: options.artifacts,
    engine,
    probeKvm,
    lockFiles,
    observe: printer.step,
  };
}

async function readPlan(file: string): Promise<NodePlan> {
  try {
    return nodePlan.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    throw new KataError(
      'KATA_E_PLAN_INVALID',
      { file, cause: causeOf(error).slice(0, 500) },
      { cause: error },
    );
  }
}

/** When not even the plan could be read: the Pod's name says which revision it belongs to. */
function resultOfProblem({ command, attempt }: Options, error: KataError): NodeResult {
  const name: Stage =
    command === 'stage' || command === 'activate' || command === 'remove' ? command : 'preflight';
  return {
    resultVersion: RESULT_VERSION,
    stage: name,
    deployment: '',
    revision: '',
    attempt,
    outcome: 'refused',
    error: {
      code: error.code,
      step: 'Start',
      reason: error.reason,
      message: error.message,
      remedy: error.remedy,
    },
    steps: [],
    facts: {},
    handlers: [],
    engineRestarts: 0,
    bytesWritten: 0,
    durationMs: 0,
  };
}
