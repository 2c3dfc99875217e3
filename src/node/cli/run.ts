/**
 * Runs one command: reads the plan, calls the stages, tells people and the controller what came of it.
 *
 * Owns exit codes and everything that is printed. No stack trace leaves this program: an error that is not
 * of the table is KATA_E_INTERNAL, in one line.
 */
import { writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import type { NodePlan } from '../../crds/nodePlan.ts';
import {
  RESULT_VERSION,
  nodeResult,
  type NodeResult,
  type Outcome,
  type Stage,
} from '../../crds/nodeResult.ts';
import { causeOf, toKataError, type KataError } from '../../errors.ts';
import { goArchitecture } from '../artifacts/architecture.ts';
import { makeBundle } from '../artifacts/bundle.ts';
import { hostAt } from '../host/host.ts';
import type { StageContext } from '../stages/context.ts';
import { activePlan, planned, verify } from '../stages/inspectHost.ts';
import { resultMessage } from '../stages/message.ts';
import { preflight } from '../stages/preflight.ts';
import { StageFailure } from '../stages/resultBuilder.ts';
import { previousPlan, rollback } from '../stages/rollback.ts';
import { readHostStatus } from '../stages/status.ts';
import { describeStatus } from './describeStatus.ts';
import { helpText } from './help.ts';
import { UsageError, parseOptions, type Options } from './options.ts';
import { readPlan } from './plan.ts';
import { Printer, type Output } from './printer.ts';
import { runStages } from './runStages.ts';

/** What a run needs from outside; the program's own entry gives the real ones. */
export interface Surroundings extends Pick<StageContext, 'engine' | 'probeKvm' | 'lockFiles'> {
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
    const parsed = parseOptions(args);
    if ('help' in parsed) {
      output.out(helpText(parsed.command));
      return EXIT.done;
    }
    options = parsed;
  } catch (error) {
    const cause = error instanceof UsageError ? error.message : causeOf(error);
    output.err(`kata-node: ${cause} (see kata-node --help)\n`);
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
  switch (options.command) {
    case 'bundle':
      return bundle(options, surroundings, printer);
    case 'status':
      return showStatus(options, surroundings, printer);
    case 'rollback': {
      const plan = await previousPlan(hostAt(options.root));
      return conclude(
        await rollback(contextWith(plan, options, surroundings, printer)),
        options,
        printer,
      );
    }
    case 'plan':
      return showPlan(await contextOf(options, surroundings, printer), printer);
    case 'verify': {
      const plan =
        options.plan === undefined
          ? await activePlan(hostAt(options.root))
          : await readPlan(options.plan);
      const context = contextWith(plan, options, surroundings, printer);
      const result = await verify(context, options);
      printer.differences(result.differences ?? []);
      return conclude(result, options, printer);
    }
    default: {
      const context = await contextOf(options, surroundings, printer);
      return conclude(
        await runStages(STAGES_OF[options.command], options.handoff, context),
        options,
        printer,
      );
    }
  }
}

const STAGES_OF: Readonly<
  Record<'preflight' | 'stage' | 'activate' | 'apply' | 'remove', readonly Stage[]>
> = {
  preflight: ['preflight'],
  stage: ['stage'],
  activate: ['activate'],
  apply: ['preflight', 'stage', 'activate'],
  remove: ['remove'],
};

async function conclude(result: NodeResult, options: Options, printer: Printer): Promise<number> {
  printer.result(options.command, result);
  // As a message it is a result and nothing more: what a command adds for its own output has no bound.
  const message = resultMessage(nodeResult.parse(result));
  if (options.result !== undefined) await writeFile(options.result, message);
  return EXIT[result.outcome];
}

async function showStatus(
  { plan, root }: Options,
  { engine, signal }: Surroundings,
  printer: Printer,
): Promise<number> {
  const wanted = plan === undefined ? undefined : (await readPlan(plan)).engine;
  const status = await readHostStatus(hostAt(root), engine, wanted, signal);
  printer.report(status, describeStatus(status));
  return EXIT.done;
}

async function bundle(
  { into = '', sources, access }: Options,
  { signal }: Surroundings,
  printer: Printer,
): Promise<number> {
  const made = await makeBundle({ directory: into, sources, access }, signal);
  const lines = made.archives.map(({ file, sha256 }) => `${file} sha256:${sha256}`);
  printer.report(made, [...lines, `bundle: ${made.directory}`]);
  return EXIT.done;
}

async function showPlan(context: StageContext, printer: Printer): Promise<number> {
  const checked = await preflight(context);
  if (checked.outcome !== 'done') {
    printer.result('plan', checked);
    return EXIT[checked.outcome];
  }
  const steps = await planned({ ...context, observe: () => undefined }).catch((error: unknown) => {
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
  surroundings: Surroundings,
  printer: Printer,
): Promise<StageContext> {
  return contextWith(await readPlan(options.plan ?? ''), options, surroundings, printer);
}

function contextWith(
  plan: NodePlan,
  options: Options,
  { engine, probeKvm, lockFiles, signal }: Surroundings,
  printer: Printer,
): StageContext {
  return {
    host: hostAt(options.root),
    plan,
    attempt: options.attempt,
    arch: goArchitecture(process.arch),
    kernel: release(),
    signal: AbortSignal.any([signal, AbortSignal.timeout(STAGE_DEADLINE_MS)]),
    bundleDirectory: options.artifacts,
    imageDirectory: options.image,
    access: options.access,
    engine,
    probeKvm,
    lockFiles,
    observe: printer.step,
    force: options.force,
  };
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
