/**
 * The step EngineConfiguration: config.toml with our block, or without it.
 *
 * Nothing is written before the node's own engine has accepted the candidate; backup and record are durable
 * before the file changes; the file is replaced whole.
 */
import { mkdir, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { KataError } from '../../errors.ts';
import { existsOnHost, type HostFile, writeDurably } from '../host/hostFile.ts';
import { ioError } from '../host/ioError.ts';
import type { Step, StepEffect } from '../transaction/step.ts';
import {
  type ChangeOptions,
  type ConfigText,
  desiredText,
  leavesFile,
  readConfig,
  replaceConfig,
  sha256Of,
  type Target,
  targetId,
} from './configFile.ts';
import { armGuard, refuseWhatWasRestored } from './guard/step.ts';
import type { EngineRecord } from './record.ts';
import { undoConfiguration } from './rollback.ts';
import { engineStatus } from './serving.ts';

export function configurationStep(options: ChangeOptions, target: Target): Step {
  const isDone = async (signal: AbortSignal): Promise<boolean> => {
    const config = await readConfig(options, target, signal);
    return desiredText(config, target) === config.text;
  };
  return {
    name: 'EngineConfiguration',
    check: isDone,
    apply: (signal) => applyTarget(options, target, signal),
    verify: async (signal) => {
      if (await isDone(signal)) return;
      throw new KataError('KATA_E_CONFIG_EDITED', {
        file: options.engine.configPath,
        cause: 'it was changed right after it was written',
      });
    },
    undo: (signal) => undoConfiguration(options, target, signal),
  };
}

async function applyTarget(
  options: ChangeOptions,
  target: Target,
  signal: AbortSignal,
): Promise<StepEffect> {
  const { host, record } = options;
  const current = await readConfig(options, target, signal);
  const wanted = desiredText(current, target);
  if (wanted === current.text) return {};
  await refuseWhatWasRestored(options, target);
  await assertFit(options, target, signal);
  const createdDirectory = await makeDirectory(options, dirname(current.file.path));
  try {
    await validate(current, wanted, target, signal);
  } catch (error) {
    if (createdDirectory !== undefined)
      await rmdir(host.at(createdDirectory)).catch(() => undefined);
    throw error;
  }
  signal.throwIfAborted();
  const known = sameFile(await record.get(), current.file);
  const bytes = Buffer.from(wanted, 'utf8');
  const backup = await backUp(options, current.file);
  await record.set(recordOf(options, known, current, bytes, target, { backup, createdDirectory }));
  await armGuard(options, signal);
  await replaceConfig(host, current, bytes, known);
  return { bytesWritten: bytes.length };
}

/** An engine that is not well is not touched, and a restart that will be due must be possible. */
async function assertFit(
  { engine, host, restart, restarter }: ChangeOptions,
  target: Target,
  signal: AbortSignal,
): Promise<void> {
  if (!engine.running) return;
  if (restart === 'WhenNeeded') restarter();
  if (target === 'none') return;
  const status = await engineStatus(host, engine, signal);
  if (!status.runtimeReady)
    throw new KataError('KATA_E_ENGINE_NOT_FOUND', {
      cause: `CRI at ${engine.socket} is not ready: ${status.notReadyCause}`,
    });
}

async function validate(
  { way, file, text }: ConfigText,
  wanted: string,
  target: Target,
  signal: AbortSignal,
): Promise<void> {
  const handlers = target === 'none' ? [] : target.map(({ handler }) => handler);
  const dropped = way.ownHandlers(text).filter((handler) => !handlers.includes(handler));
  await way.validate({ current: file, text, wanted, handlers, dropped }, signal);
}

/** What is remembered of another file says nothing about this one. */
function sameFile(known: EngineRecord | undefined, { path }: HostFile): EngineRecord | undefined {
  return known?.original.path === path ? known : undefined;
}

/** The directory, when it had to be made. */
async function makeDirectory(
  { host }: ChangeOptions,
  directory: string,
): Promise<string | undefined> {
  if (await existsOnHost(host, directory)) return undefined;
  try {
    await mkdir(host.at(directory), { mode: 0o755 });
  } catch (error) {
    throw ioError(directory, error);
  }
  return directory;
}

/** Copy of the file as it is, readable by root only: it may hold registry credentials. */
async function backUp(
  { host, owner, backupDirectory }: ChangeOptions,
  { bytes }: HostFile,
): Promise<string | undefined> {
  if (bytes === undefined) return undefined;
  const backup = join(backupDirectory, `config.toml.${owner}.before`);
  try {
    await mkdir(host.at(backupDirectory), { recursive: true, mode: 0o755 });
    await writeDurably(host.at(backup), bytes, { mode: 0o600, uid: 0, gid: 0 });
  } catch (error) {
    throw ioError(backup, error);
  }
  return backup;
}

function recordOf(
  { engine, owner }: ChangeOptions,
  known: EngineRecord | undefined,
  { way, text, file: { path, mode, uid, gid, bytes } }: ConfigText,
  after: Buffer,
  target: Target,
  {
    backup,
    createdDirectory,
  }: { backup: string | undefined; createdDirectory: string | undefined },
): EngineRecord {
  const before = sha256Of(bytes);
  // Of an edit whose record somebody has removed, the file itself tells what the engine may still have loaded.
  const handlers = [
    ...way.ownHandlers(text),
    ...(target === 'none' ? [] : target.map(({ handler }) => handler)),
  ];
  return {
    owner,
    engine: { ...engine },
    original: known?.original ?? {
      path,
      mode,
      uid,
      gid,
      existed: bytes !== undefined,
      ...defined('sha256', before),
      ...defined('createdDirectory', createdDirectory),
    },
    handlers: [...new Set([...(known?.handlers ?? []), ...handlers])],
    change: {
      target: targetId(target),
      ...defined('beforeSha256', before),
      ...defined('afterSha256', leavesFile(after, way, known) ? sha256Of(after) : undefined),
      ...defined('backup', backup),
    },
  };
}

/** The property, or none of it. */
function defined<Key extends string>(
  key: Key,
  value: string | undefined,
): Partial<Record<Key, string>> {
  return value === undefined ? {} : ({ [key]: value } as Partial<Record<Key, string>>);
}
