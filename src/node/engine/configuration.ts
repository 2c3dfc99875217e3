/**
 * The step EngineConfiguration: config.toml with our block, or without it.
 *
 * Nothing is written before the node's own engine has accepted the candidate; backup and record are durable
 * before the file changes; the file is replaced whole.
 */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { KataError } from '../../errors.ts';
import { type HostFile, readHostFile, resolveOnHost, writeDurably } from '../host/hostFile.ts';
import { ioError } from '../host/ioError.ts';
import type { Step, StepEffect } from '../transaction/step.ts';
import { againWhenChanged, orChanged } from './changedMeanwhile.ts';
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
import { makeDirectory } from './createdDirectory.ts';
import { armGuard, refuseWhatWasRestored } from './guard/step.ts';
import type { EngineRecord } from './record.ts';
import { undoConfiguration } from './rollback.ts';
import { engineStatus } from './serving.ts';

export function configurationStep(options: ChangeOptions, target: Target): Step {
  const isDone = (signal: AbortSignal): Promise<boolean> =>
    againWhenChanged(async () => {
      if (await isAsJudged(options, target)) return true;
      const { current, wanted } = await planned(options, target, signal);
      return wanted === current.text;
    }, signal);
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

/** True when the file is, byte for byte, what an earlier run made of it for the same wish and the same engine. */
async function isAsJudged(
  { host, engine, record }: ChangeOptions,
  target: Target,
): Promise<boolean> {
  const known = await record.get();
  if (known?.judged?.target !== targetId(target)) return false;
  // Another release may want it written in another way.
  if (known.engine.binaryIdentity !== engine.binaryIdentity) return false;
  const { path, bytes } = await readHostFile(host, known.original.path);
  // Another file may be the one to edit since the engine was told to read another.
  if (path !== (await resolveOnHost(host, engine.configPath))) return false;
  return sha256Of(bytes) === known.judged.sha256;
}

/** The file as it is, and what it should be. */
function planned(
  options: ChangeOptions,
  target: Target,
  signal: AbortSignal,
): Promise<{ current: ConfigText; wanted: string }> {
  return orChanged(options.host, options.engine.configPath, async () => {
    const current = await readConfig(options, target, signal);
    return { current, wanted: desiredText(current, target) };
  });
}

async function applyTarget(
  options: ChangeOptions,
  target: Target,
  signal: AbortSignal,
): Promise<StepEffect> {
  const before = await options.record.get();
  return againWhenChanged(() => applyOnce(options, target, before, signal), signal);
}

/** `before`: the record as it was before the first try. What an earlier try has written there speaks of another file. */
async function applyOnce(
  options: ChangeOptions,
  target: Target,
  before: EngineRecord | undefined,
  signal: AbortSignal,
): Promise<StepEffect> {
  const { engine, host, record } = options;
  const { current, wanted } = await planned(options, target, signal);
  if (wanted === current.text) return {};
  await refuseWhatWasRestored(options, target);
  await assertFit(options, target, signal);
  const known = sameFile(before, current.file);
  const base = recordOf(options, known, current);
  const createdDirectory =
    (await makeDirectory(host, dirname(current.file.path), (directory) =>
      record.set({ ...base, original: { ...base.original, createdDirectory: directory } }),
    )) ?? sameFile(await record.get(), current.file)?.original.createdDirectory;
  await orChanged(host, engine.configPath, () => validate(current, wanted, target, signal));
  signal.throwIfAborted();
  const bytes = Buffer.from(wanted, 'utf8');
  const backup = await backUp(options, current.file);
  await record.set({
    ...base,
    original: { ...base.original, ...defined('createdDirectory', createdDirectory) },
    handlers: handlersOf(known, current, target),
    change: changeOf(known, current, bytes, target, backup),
  });
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

/** What is known before anything is changed. */
function recordOf(
  { engine, owner }: ChangeOptions,
  known: EngineRecord | undefined,
  { file: { path, mode, uid, gid, bytes } }: ConfigText,
): EngineRecord {
  return {
    owner,
    engine: { ...engine },
    original: known?.original ?? {
      ...{ path, mode, uid, gid, existed: bytes !== undefined },
      ...defined('sha256', sha256Of(bytes)),
    },
    handlers: known?.handlers ?? [],
  };
}

/** Of an edit whose record somebody has removed, the file itself tells what the engine may still have loaded. */
function handlersOf(
  known: EngineRecord | undefined,
  { way, text }: ConfigText,
  target: Target,
): string[] {
  const wanted = target === 'none' ? [] : target.map(({ handler }) => handler);
  return [...new Set([...(known?.handlers ?? []), ...way.ownHandlers(text), ...wanted])];
}

function changeOf(
  known: EngineRecord | undefined,
  { way, file }: ConfigText,
  after: Buffer,
  target: Target,
  backup: string | undefined,
): EngineRecord['change'] {
  return {
    target: targetId(target),
    ...defined('beforeSha256', sha256Of(file.bytes)),
    ...defined('afterSha256', leavesFile(after, way, known) ? sha256Of(after) : undefined),
    ...defined('backup', backup),
  };
}

/** The property, or none of it. */
function defined<Key extends string>(
  key: Key,
  value: string | undefined,
): Partial<Record<Key, string>> {
  return value === undefined ? {} : ({ [key]: value } as Partial<Record<Key, string>>);
}
