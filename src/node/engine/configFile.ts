/**
 * The engine's configuration file as a transaction sees it: what is there, what should be there, and whether
 * the running engine has taken it over. Shared by the step that writes it and by the one that restarts.
 */
import { createHash } from 'node:crypto';
import { rmdir } from 'node:fs/promises';
import type { Host } from '../host/host.ts';
import { type HostFile, readHostFile, removeHostFile, writeHostFile } from '../host/hostFile.ts';
import { parseToml } from '../toml/document.ts';
import {
  definedRuntimes,
  installedText,
  ownHandlers,
  removedText,
  textOf,
} from './containerd/edit.ts';
import { differsFromFile } from './containerd/loaded.ts';
import type { Engine, HandlerRegistration } from './engine.ts';
import type { Guard } from './guard/guard.ts';
import type { EngineRecord, EngineRecordStore } from './record.ts';
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
  readonly file: HostFile;
  readonly text: string;
}

/** The file and its text; of a missing file, the empty text. */
export async function readConfig({ host, engine }: ChangeOptions): Promise<ConfigText> {
  const file = await readHostFile(host, engine.configPath);
  return { file, text: textOf(file.bytes, engine.configPath) };
}

/** The text that the target asks for. Equal to `text` when nothing is left to do. */
export function desiredText(
  { engine, owner }: ChangeOptions,
  text: string,
  target: Target,
): string {
  return target === 'none'
    ? removedText(text, engine, owner, engine.configPath)
    : installedText(text, engine, owner, target, engine.configPath);
}

/** A file that we made and that holds nothing any more goes away as a whole. */
export function leavesFile(bytes: Buffer, known: EngineRecord | undefined): boolean {
  return bytes.length > 0 || known?.original.existed !== false;
}

/** Puts the bytes in place, whole or not at all. */
export async function replaceConfig(
  host: Host,
  file: HostFile,
  bytes: Buffer,
  known: EngineRecord | undefined,
): Promise<void> {
  if (leavesFile(bytes, known)) {
    await writeHostFile(host, file, bytes);
    return;
  }
  await removeHostFile(host, file.path);
  // Not empty when somebody else has put something there: then it stays.
  if (known?.original.createdDirectory !== undefined)
    await rmdir(host.at(known.original.createdDirectory)).catch(() => undefined);
}

/** True when the running engine has loaded other handlers than the file defines, among those that were ever ours, or does not answer. */
export async function needsRestart(options: ChangeOptions, signal: AbortSignal): Promise<boolean> {
  const { engine, host, owner, record } = options;
  const status = await engineStatusIfAny(host, engine, signal);
  if (status === undefined) return true;
  const { text } = await readConfig(options);
  const handlers = new Set([
    ...ownHandlers(text, engine, owner, engine.configPath),
    ...((await record.get())?.handlers ?? []),
  ]);
  const document = parseToml(text, engine.configPath);
  return differsFromFile(status, definedRuntimes(document, engine, engine.configPath), [
    ...handlers,
  ]);
}

/** Names of all runtimes that the file itself defines. */
export async function runtimesOfFile(options: ChangeOptions): Promise<string[]> {
  const { text } = await readConfig(options);
  const { configPath } = options.engine;
  return Object.keys(definedRuntimes(parseToml(text, configPath), options.engine, configPath));
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
