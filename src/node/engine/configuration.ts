/**
 * The step EngineConfiguration: config.toml with our block, or without it.
 *
 * Owns the file, its backup and the record of both. Nothing is written before the node's own engine has
 * accepted the candidate; what is written replaces the file whole; undo gives back the bytes that were there.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError, causeOf, toKataError } from '../../errors.ts';
import {
  type HostFile,
  readHostFile,
  removeHostFile,
  writeDurably,
  writeHostFile,
} from '../host/hostFile.ts';
import type { Step, StepEffect } from '../transaction/step.ts';
import { findBlock, withBlock, withoutBlock } from '../toml/block.ts';
import { parseToml, type TomlTable } from '../toml/document.ts';
import { validateCandidate } from './containerd/candidate.ts';
import {
  definedRuntimes,
  installedText,
  ownHandlers,
  removedText,
  textOf,
} from './containerd/edit.ts';
import { checkImports } from './containerd/imports.ts';
import { differsFromFile } from './containerd/loaded.ts';
import type { HandlerRegistration } from './engine.ts';
import type { EngineRecord } from './record.ts';
import {
  type EngineRestarter,
  engineStatus,
  engineStatusIfAny,
  restartAndWait,
} from './serving.ts';
import type { RemoveOptions } from './steps.ts';

/** What a transaction wants of the file: these handlers, or no block of ours. */
type Target = readonly HandlerRegistration[] | 'none';

export type ChangeOptions = Omit<RemoveOptions, 'restarter'> & {
  readonly restarter: () => EngineRestarter;
};

export class ConfigurationChange {
  readonly options: ChangeOptions;

  constructor(options: ChangeOptions) {
    this.options = options;
  }

  step(target: Target): Step {
    return {
      name: 'EngineConfiguration',
      check: async () => {
        const { text } = await this.#read();
        return this.#desired(text, target) === text;
      },
      apply: (signal) => this.#apply(target, signal),
      verify: async () => {
        const { text, file } = await this.#read();
        if (this.#desired(text, target) === text) return;
        throw new KataError('KATA_E_CONFIG_EDITED', {
          file: file.path,
          cause: 'it was changed while it was being written',
        });
      },
      undo: (signal) => this.#undo(target, signal),
    };
  }

  /** True when the running engine has loaded other handlers than the file defines, among those that were ever ours. */
  async needsRestart(signal: AbortSignal): Promise<boolean> {
    const { engine, host, record } = this.options;
    const status = await engineStatusIfAny(host, engine, signal);
    if (status === undefined) return true;
    const { text } = await this.#read();
    const handlers = new Set([
      ...ownHandlers(text, engine, this.options.owner, engine.configPath),
      ...((await record.get())?.handlers ?? []),
    ]);
    return differsFromFile(
      status,
      definedRuntimes(parseToml(text, engine.configPath), engine, engine.configPath),
      [...handlers],
    );
  }

  /** Ends an installation's memory: the backup and the record go. */
  async forget(): Promise<void> {
    const known = await this.options.record.get();
    await this.#dropBackup(known);
    await this.options.record.clear();
  }

  async #read(): Promise<{ file: HostFile; text: string }> {
    const { host, engine } = this.options;
    const file = await readHostFile(host, engine.configPath);
    return { file, text: textOf(file.bytes, engine.configPath) };
  }

  #desired(text: string, target: Target): string {
    const { engine, owner } = this.options;
    return target === 'none'
      ? removedText(text, engine, owner, engine.configPath)
      : installedText(text, engine, owner, target, engine.configPath);
  }

  async #apply(target: Target, signal: AbortSignal): Promise<StepEffect> {
    const { file, text } = await this.#read();
    const wanted = this.#desired(text, target);
    if (wanted === text) return {};
    const known = await this.options.record.get();
    await this.#assertFit(target, signal);
    const createdDirectory = await this.#makeDirectory(file.path);
    try {
      await this.#validate(file, text, wanted, target, signal);
    } catch (error) {
      if (createdDirectory !== undefined)
        await rmdir(this.options.host.at(dirname(file.path))).catch(() => undefined);
      throw error;
    }
    signal.throwIfAborted();
    const bytes = Buffer.from(wanted, 'utf8');
    await this.#remember(known, file, bytes, target, createdDirectory);
    await this.#replace(file, bytes, known);
    return { bytesWritten: bytes.length };
  }

  /** An engine that is not well is not touched, and a restart that will be due must be possible. */
  async #assertFit(target: Target, signal: AbortSignal): Promise<void> {
    const { engine, host, restart, restarter } = this.options;
    if (!engine.running) return;
    if (restart === 'WhenNeeded') restarter();
    if (target === 'none') return;
    const status = await engineStatus(host, engine, signal);
    if (!status.runtimeReady)
      throw new KataError('KATA_E_ENGINE_NOT_FOUND', {
        cause: `CRI at ${engine.socket} is not ready: ${status.notReadyCause}`,
      });
  }

  async #validate(
    file: HostFile,
    text: string,
    wanted: string,
    target: Target,
    signal: AbortSignal,
  ): Promise<void> {
    const { host, engine, owner } = this.options;
    const document = parseToml(wanted, engine.configPath);
    const handlers = target === 'none' ? [] : target.map(({ handler }) => handler);
    if (target !== 'none') await checkImports(host, engine, document, handlers);
    const defined = definedRuntimes(document, engine, engine.configPath);
    const tables: TomlTable = Object.fromEntries(
      handlers.map((handler) => [handler, defined[handler] ?? {}]),
    );
    const dropped = ownHandlers(text, engine, owner, engine.configPath).filter(
      (handler) => !handlers.includes(handler),
    );
    await validateCandidate(
      host,
      engine,
      file,
      Buffer.from(wanted, 'utf8'),
      { wanted: tables, dropped },
      signal,
    );
  }

  async #makeDirectory(path: string): Promise<string | undefined> {
    const { host } = this.options;
    const directory = dirname(path);
    const present = await stat(host.at(directory)).catch(() => undefined);
    if (present !== undefined) return undefined;
    await mkdir(host.at(directory), { mode: 0o755 });
    return directory;
  }

  /** Backup and record are durable before the file changes. */
  async #remember(
    known: EngineRecord | undefined,
    file: HostFile,
    after: Buffer,
    target: Target,
    createdDirectory: string | undefined,
  ): Promise<void> {
    const { engine, host, owner, record } = this.options;
    const backup =
      file.bytes === undefined ? undefined : join(HOST_PATHS.state, `config.toml.${owner}.before`);
    if (backup !== undefined && file.bytes !== undefined) {
      await mkdir(host.at(HOST_PATHS.state), { recursive: true, mode: 0o755 });
      await writeDurably(host.at(backup), file.bytes, { mode: 0o600, uid: 0, gid: 0 });
    }
    const beforeSha256 = sha256(file.bytes);
    const { path, mode, uid, gid } = file;
    await record.set({
      owner,
      engine: { ...engine },
      original: known?.original ?? {
        path,
        mode,
        uid,
        gid,
        existed: file.bytes !== undefined,
        ...(beforeSha256 === undefined ? {} : { sha256: beforeSha256 }),
        ...(createdDirectory === undefined ? {} : { createdDirectory }),
      },
      handlers: [
        ...new Set([
          ...(known?.handlers ?? []),
          ...(target === 'none' ? [] : target.map(({ handler }) => handler)),
        ]),
      ],
      change: {
        target: targetId(target),
        ...(beforeSha256 === undefined ? {} : { beforeSha256 }),
        ...(this.#leavesFile(after, known)
          ? { afterSha256: createHash('sha256').update(after).digest('hex') }
          : {}),
        ...(backup === undefined ? {} : { backup }),
      },
    });
  }

  /** A file that we made and that holds nothing any more goes away as a whole. */
  #leavesFile(bytes: Buffer, known: EngineRecord | undefined): boolean {
    return bytes.length > 0 || known?.original.existed !== false;
  }

  async #replace(file: HostFile, bytes: Buffer, known: EngineRecord | undefined): Promise<void> {
    const { host } = this.options;
    if (this.#leavesFile(bytes, known)) {
      await writeHostFile(host, file, bytes);
      return;
    }
    await removeHostFile(host, file.path);
    if (known?.original.createdDirectory !== undefined)
      await rmdir(host.at(known.original.createdDirectory)).catch(() => undefined);
  }

  async #undo(target: Target, signal: AbortSignal): Promise<void> {
    const { record, engine, restarter } = this.options;
    const known = await record.get();
    // The last change belongs to another transaction: this one has not come as far as writing.
    if (known?.change?.target !== targetId(target)) return;
    await this.#restore(known, known.change);
    if (engine.running) {
      try {
        await this.#restartRestored(signal);
      } catch (error) {
        if (signal.aborted || toKataError(error).code === 'KATA_E_AWAITING_RESTART') throw error;
        throw new KataError(
          'KATA_E_ROLLBACK_FAILED',
          {
            unit: this.#unit(restarter),
            cause: causeOf(error),
            backup: known.change.backup ?? 'no file',
          },
          { cause: error },
        );
      }
    }
    await this.#settle(known);
  }

  async #restartRestored(signal: AbortSignal): Promise<void> {
    const { engine, host, restart, restarter } = this.options;
    if (!(await this.needsRestart(signal))) return;
    if (restart === 'Never')
      throw new KataError('KATA_E_AWAITING_RESTART', { unit: this.#unit(restarter) });
    await restartAndWait(host, engine, restarter(), signal);
  }

  #unit(restarter: () => EngineRestarter): string {
    return this.options.engine.unit ?? restarter().unit;
  }

  async #restore(known: EngineRecord, change: NonNullable<EngineRecord['change']>): Promise<void> {
    const { host, owner } = this.options;
    const { file, text } = await this.#read();
    const present = sha256(file.bytes);
    if (present === change.beforeSha256) return;
    const before = change.backup === undefined ? undefined : await readFile(host.at(change.backup));
    if (present === change.afterSha256) {
      if (before === undefined) await this.#replace(file, Buffer.alloc(0), known);
      else await writeHostFile(host, file, before);
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
    if (restored !== text) await writeHostFile(host, file, Buffer.from(restored, 'utf8'));
  }

  /** After an undo: of a first installation nothing is remembered, of an update what was before it. */
  async #settle(known: EngineRecord): Promise<void> {
    const { record } = this.options;
    await this.#dropBackup(known);
    const { change, ...rest } = known;
    if (change?.beforeSha256 === known.original.sha256) await record.clear();
    else await record.set(rest);
  }

  async #dropBackup(known: EngineRecord | undefined): Promise<void> {
    if (known?.change?.backup !== undefined)
      await rm(this.options.host.at(known.change.backup), { force: true });
  }
}

function sha256(bytes: Buffer | undefined): string | undefined {
  return bytes === undefined ? undefined : createHash('sha256').update(bytes).digest('hex');
}

function targetId(target: Target): string {
  return target === 'none'
    ? 'none'
    : createHash('sha256').update(JSON.stringify(target)).digest('hex');
}
