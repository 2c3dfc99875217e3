/**
 * The steps that make the engine serve the Kata handlers, and the ones that take them back.
 *
 * Order within a transaction: EngineConfiguration, EngineRestart, HandlerCheck, EngineGuard. Undoing runs the other way
 * round, so the restart that follows a restored file is part of undoing EngineConfiguration.
 */
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import type { Host } from '../host/host.ts';
import type { Step } from '../transaction/step.ts';
import type { ChangeOptions } from './configFile.ts';
import { configurationStep } from './configuration.ts';
import { describeEngine, type Engine, type HandlerRegistration } from './engine.ts';
import { type Guard, NO_GUARD, systemdGuard } from './guard/guard.ts';
import { guardStep } from './guard/step.ts';
import type { EngineRecordStore } from './record.ts';
import { restartStep } from './restartStep.ts';
import { forget } from './rollback.ts';
import { type EngineRestarter, engineStatus, systemdRestarter } from './serving.ts';
import { servedBy } from './served.ts';

export interface RemoveOptions {
  readonly host: Host;
  readonly engine: Engine;
  /** Name in our block's markers: the KataDeployment. */
  readonly owner: string;
  /** With `Never`, EngineRestart throws KATA_E_AWAITING_RESTART and the file stays as it was written. */
  readonly restart: 'WhenNeeded' | 'Never';
  readonly record: EngineRecordStore;
  /** systemd, unless given. */
  readonly restarter?: EngineRestarter;
  /** Directory on the host for the copy of the file before an edit; /opt/kata/state unless given. */
  readonly backupDirectory?: string;
  /** What restores the file when this process cannot; systemd's, unless another `restarter` is given. */
  readonly guard?: Guard;
}

export interface InstallOptions extends RemoveOptions {
  readonly registrations: readonly HandlerRegistration[];
}

export function installSteps(options: InstallOptions): Step[] {
  const change = changeOptions(options);
  return [
    configurationStep(change, options.registrations),
    restartStep(
      change,
      options.registrations.map(({ shimPath }) => shimPath),
    ),
    servedStep(options),
    guardStep(change),
  ];
}

export function removeSteps(options: RemoveOptions): Step[] {
  const change = changeOptions(options);
  return [
    configurationStep(change, 'none'),
    restartStep(change, []),
    withdrawnStep(options),
    guardStep(change),
    forgetStep(change),
  ];
}

/** Handlers that the running engine serves, Kata's and all others, sorted. Throws KATA_E_ENGINE_NOT_FOUND. */
export async function servedHandlers(
  host: Host,
  engine: Engine,
  signal: AbortSignal,
): Promise<string[]> {
  return servedBy(await engineStatus(host, engine, signal));
}

function changeOptions(options: RemoveOptions): ChangeOptions {
  const {
    host,
    engine,
    owner,
    restart,
    record,
    restarter,
    backupDirectory = HOST_PATHS.state,
    guard = restarter === undefined && engine.unit !== undefined ? systemdGuard(host) : NO_GUARD,
  } = options;
  // Asked for only when a restart is due, so that an engine without a unit is refused only then.
  return {
    host,
    engine,
    owner,
    restart,
    record,
    backupDirectory,
    guard,
    restarter: () => restarter ?? systemdRestarter(host, engine),
  };
}

/** The engine answers with every handler. Nothing to apply: a handler that is missing now stays missing. */
function servedStep({ host, engine, registrations }: InstallOptions): Step {
  const missing = async (signal: AbortSignal): Promise<string[]> => {
    if (!engine.running) return [];
    const served = new Set(await servedHandlers(host, engine, signal));
    return registrations.map(({ handler }) => handler).filter((handler) => !served.has(handler));
  };
  return checkStep('HandlerCheck', missing, engine);
}

/** The engine has let go of every handler that was only ours. */
function withdrawnStep({ host, engine, record }: RemoveOptions): Step {
  const left = async (signal: AbortSignal): Promise<string[]> => {
    const known = await record.get();
    if (!engine.running || known === undefined) return [];
    const served = new Set(await servedHandlers(host, engine, signal));
    return known.handlers.filter((handler) => served.has(handler));
  };
  return {
    ...checkStep('HandlerCheck', left, engine),
    verify: async (signal) => {
      const handlers = await left(signal);
      if (handlers.length > 0) {
        throw new KataError('KATA_E_ENGINE_RESTART', {
          unit: engine.unit ?? describeEngine(engine),
          cause: `it still serves ${handlers.join(', ')}`,
        });
      }
    },
  };
}

function checkStep(
  name: string,
  wrong: (signal: AbortSignal) => Promise<string[]>,
  engine: Engine,
): Step {
  return {
    name,
    check: async (signal) => (await wrong(signal)).length === 0,
    apply: () => Promise.resolve({}),
    verify: async (signal) => {
      const handlers = await wrong(signal);
      if (handlers.length > 0)
        throw new KataError('KATA_E_HANDLERS_MISSING', {
          engine: describeEngine(engine),
          handlers: handlers.join(', '),
        });
    },
    undo: () => Promise.resolve(),
  };
}

/** Removal is complete: the backup and the record go, last of all. */
function forgetStep(options: ChangeOptions): Step {
  return {
    name: 'EngineRecord',
    check: async () => (await options.record.get()) === undefined,
    apply: async (signal) => {
      await forget(options, signal);
      return {};
    },
    verify: () => Promise.resolve(),
    undo: () => Promise.resolve(),
  };
}
