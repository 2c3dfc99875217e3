/**
 * The engine's configuration file as a transaction sees it: what is there, what should be there, and whether
 * the running engine has taken it over. Shared by the step that writes it and by the one that restarts.
 */
import { createHash } from 'node:crypto';
import type { Host } from '../host/host.ts';
import {
  assertUnchanged,
  type HostFile,
  readHostFile,
  removeHostFile,
  replaceHostFile,
} from '../host/hostFile.ts';
import { againWhenChanged, orChanged } from './changedMeanwhile.ts';
import { textOf } from './containerd/edit.ts';
import { removeCreatedDirectory } from './createdDirectory.ts';
import type { Engine, HandlerRegistration } from './engine.ts';
import type { EngineFile } from './engineFile.ts';
import type { Guard } from './guard/guard.ts';
import type { EngineRecord, EngineRecordStore } from './record.ts';
import { locateFile } from './locate.ts';
import { type EngineRestarter, engineStatusIfAny } from './serving.ts';

/** What a transaction wants of the file: these handlers, or no block of ours. */
export type Target = readonly HandlerRegistration[] | 'none';

export interface ChangeOptions {
  readonly host: Host;
  readonly engine: Engine;
  readonly owner: string;
  readonly restart: 'WhenNeeded' | 'Never';
  readonly record: EngineRecordStore;
  /** Asked only when a restart is due. */
  readonly restarter: () => EngineRestarter;
  readonly guard: Guard;
  /** Directory on the host for the copy of the file before an edit. */
  readonly backupDirectory: string;
}

export interface ConfigText {
  /** Which file is edited, and how. */
  readonly way: EngineFile;
  readonly file: HostFile;
  readonly text: string;
}

/** The file that is edited, and its text; of a missing file, the empty text. */
export function readConfig(
  options: ChangeOptions,
  target: Target,
  signal: AbortSignal,
): Promise<ConfigText> {
  const { host, engine, owner, record } = options;
  const read = async (): Promise<ConfigText> => {
    const purpose = target === 'none' ? 'look' : 'install';
    const remembered = (await record.get())?.original.path;
    const way = await locateFile(host, engine, owner, { purpose, remembered }, signal);
    const file = await readHostFile(host, way.path);
    return { way, file, text: textOf(file.bytes, way.path) };
  };
  return againWhenChanged(() => orChanged(host, engine.configPath, read), signal);
}

/** The text that the target asks for. Equal to `text` when nothing is left to do. */
export function desiredText({ way, text }: ConfigText, target: Target): string {
  return target === 'none' ? way.removed(text) : way.installed(text, target);
}

/** A file that we made and that holds nothing any more goes away as a whole. */
export function leavesFile(
  bytes: Buffer,
  way: EngineFile,
  known: EngineRecord | undefined,
): boolean {
  return bytes.length > 0 || !(way.isOurs || known?.original.existed === false);
}

/** Puts the bytes in place, whole or not at all. Throws KATA_E_CONFIG_CHANGED when the file is not the one that was read. */
export async function replaceConfig(
  host: Host,
  { way, file }: ConfigText,
  bytes: Buffer,
  known: EngineRecord | undefined,
): Promise<void> {
  if (leavesFile(bytes, way, known)) {
    await replaceHostFile(host, file, bytes);
    return;
  }
  await assertUnchanged(host, file);
  await removeHostFile(host, file.path);
  await removeCreatedDirectory(host, known);
}

/** True when the running engine has loaded other handlers than the file defines, among those that were ever ours, or does not answer. */
export async function needsRestart(options: ChangeOptions, signal: AbortSignal): Promise<boolean> {
  const { engine, host, record } = options;
  const status = await engineStatusIfAny(host, engine, signal);
  if (status === undefined) return true;
  const { way, text } = await readConfig(options, 'none', signal);
  const handlers = new Set([...way.ownHandlers(text), ...((await record.get())?.handlers ?? [])]);
  return !way.isLoaded(status, text, [...handlers]);
}

export function sha256Of(bytes: Buffer | undefined): string | undefined {
  return bytes === undefined ? undefined : createHash('sha256').update(bytes).digest('hex');
}

/** Tells one wish from another, so that undo leaves alone what another transaction has done. */
export function targetId(target: Target): string {
  return target === 'none'
    ? 'none'
    : createHash('sha256').update(JSON.stringify(target)).digest('hex');
}
