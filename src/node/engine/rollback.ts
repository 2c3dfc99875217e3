/**
 * Taking an edit of the engine's configuration back, also by a process that did not make it: the bytes that
 * were there, and an engine that runs with them.
 *
 * Restores only what the record says this wish has changed; what others wrote in the meantime stays.
 */
import { readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { KataError, causeOf, toKataError } from '../../errors.ts';
import { resolveOnHost, temporaryPath, replaceHostFile } from '../host/hostFile.ts';
import { ioError } from '../host/ioError.ts';
import { findBlock, withBlock, withoutBlock } from '../toml/block.ts';
import { bringIn } from './bringIn.ts';
import { againWhenChanged } from './changedMeanwhile.ts';
import {
  type ChangeOptions,
  type ConfigText,
  needsRestart,
  readConfig,
  replaceConfig,
  sha256Of,
  type Target,
  targetId,
} from './configFile.ts';
import { candidatePath } from './containerd/candidate.ts';
import { textOf } from './containerd/edit.ts';
import { isOnlyAnnounced, makeDirectory, removeCreatedDirectory } from './createdDirectory.ts';
import { describeEngine } from './engine.ts';
import type { EngineRecord } from './record.ts';

type Change = NonNullable<EngineRecord['change']>;

/** Throws KATA_E_ROLLBACK_FAILED, with the backup kept, when the engine does not come back with the old file. */
export async function undoConfiguration(
  options: ChangeOptions,
  target: Target,
  signal: AbortSignal,
): Promise<void> {
  const known = await options.record.get();
  await removeLeftovers(options, await readConfig(options, target, signal));
  if (known !== undefined && isOnlyAnnounced(known)) {
    await removeCreatedDirectory(options.host, known);
    await options.record.clear();
    return;
  }
  // The last change belongs to another transaction: this one has not come as far as writing.
  if (known?.change?.target !== targetId(target)) return;
  const { change } = known;
  await againWhenChanged(async () => {
    await restoreFile(options, await readConfig(options, target, signal), known, change);
  }, signal);
  try {
    if (options.engine.running) await restartRestored(options, change, signal);
  } finally {
    // The file is back: with it, the guard could only restart once more. Cut short, it is still the better hope.
    if (!signal.aborted) await options.guard.disarm(signal);
  }
  await settle(options, known, change);
}

/** Ends an installation's memory: the backup and the record go. */
export async function forget(options: ChangeOptions, signal: AbortSignal): Promise<void> {
  const known = await options.record.get();
  await removeLeftovers(options, await readConfig(options, 'none', signal));
  await dropBackup(options, known?.change);
  await removeCreatedDirectory(options.host, known);
  await options.record.clear();
}

/** What a process that was killed in the middle of an edit has left beside the file. */
async function removeLeftovers(
  { host, engine }: ChangeOptions,
  { file }: ConfigText,
): Promise<void> {
  const main = await resolveOnHost(host, engine.configPath);
  for (const path of new Set([main, file.path]))
    for (const leftover of [candidatePath(path), temporaryPath(path)])
      await rm(host.at(leftover), { recursive: true, force: true });
}

async function restoreFile(
  options: ChangeOptions,
  config: ConfigText,
  known: EngineRecord,
  change: Change,
): Promise<void> {
  const { host, owner } = options;
  const { file, text } = config;
  const present = sha256Of(file.bytes);
  if (present === change.beforeSha256) return;
  const before = await readBackup(options, change);
  // A removal takes a directory of ours with it; that it is ours is still on record.
  if (before !== undefined) await makeDirectory(host, dirname(file.path), () => Promise.resolve());
  if (present === change.afterSha256) {
    if (before === undefined) await replaceConfig(host, config, Buffer.alloc(0), known);
    else await replaceHostFile(host, file, before);
    return;
  }
  // Somebody has written to the file since: only our block goes back.
  const block =
    before === undefined ? undefined : findBlock(textOf(before, file.path), owner, file.path);
  const lines = block?.body.split(/\r?\n/).slice(0, -1);
  const restored =
    lines === undefined
      ? withoutBlock(text, owner, file.path)
      : withBlock(text, owner, lines, file.path);
  if (restored !== text) await replaceConfig(host, config, Buffer.from(restored, 'utf8'), known);
}

async function readBackup(
  { host }: ChangeOptions,
  { backup }: Change,
): Promise<Buffer | undefined> {
  if (backup === undefined) return undefined;
  try {
    return await readFile(host.at(backup));
  } catch (error) {
    throw ioError(backup, error);
  }
}

async function restartRestored(
  options: ChangeOptions,
  { backup }: Change,
  signal: AbortSignal,
): Promise<void> {
  const { engine, restart } = options;
  const unit = engine.unit ?? describeEngine(engine);
  try {
    if (!(await needsRestart(options, signal))) return;
    if (restart === 'Never') throw new KataError('KATA_E_AWAITING_RESTART', { unit });
    await bringIn(options, signal);
  } catch (error) {
    if (signal.aborted || toKataError(error).code === 'KATA_E_AWAITING_RESTART') throw error;
    throw new KataError(
      'KATA_E_ROLLBACK_FAILED',
      { unit, cause: causeOf(error), backup: backup ?? '(there was no file)' },
      { cause: error },
    );
  }
}

/** Of a first installation nothing is remembered, of an update what was before it. */
async function settle(options: ChangeOptions, known: EngineRecord, change: Change): Promise<void> {
  await dropBackup(options, change);
  const { change: _, ...rest } = known;
  if (change.beforeSha256 !== known.original.sha256) {
    await options.record.set(rest);
    return;
  }
  await removeCreatedDirectory(options.host, known);
  await options.record.clear();
}

async function dropBackup({ host }: ChangeOptions, change: Change | undefined): Promise<void> {
  if (change?.backup !== undefined) await rm(host.at(change.backup), { force: true });
}
