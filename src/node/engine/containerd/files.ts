/**
 * The two ways to edit containerd's configuration: a managed block in its main file, and a drop-in file in a
 * directory that the main file imports by a pattern (containerd ≥ 2.0, which merges imports instead of replacing
 * whole sections).
 */
import type { Host } from '../../host/host.ts';
import { existsOnHost, readHostFile } from '../../host/hostFile.ts';
import { parseToml, tableAt, type TomlTable } from '../../toml/document.ts';
import { extendDocument } from '../../toml/extend.ts';
import type { Engine } from '../engine.ts';
import type { Candidate, EngineFile } from '../engineFile.ts';
import { validateMain, validateDropIn } from './candidate.ts';
import {
  BLOCK_COMMENT,
  definedRuntimes,
  installedText,
  ownHandlers,
  removedText,
  textOf,
} from './edit.ts';
import { checkImports } from './imports.ts';
import { differsFromFile } from './loaded.ts';
import { assertNotInstalledByOthers } from './others.ts';
import { assertCriEnabled, documentSchema, handlerTables } from './schema.ts';

export function mainFile(host: Host, engine: Engine, owner: string): EngineFile {
  const path = engine.configPath;
  const runtimes = (text: string): TomlTable =>
    definedRuntimes(parseToml(text, path), engine, path);
  return {
    path,
    isOurs: false,
    installed: (text, registrations) => installedText(text, engine, owner, registrations, path),
    removed: (text) => removedText(text, engine, owner, path),
    ownHandlers: (text) => ownHandlers(text, engine, owner, path),
    validate: async (candidate, signal) => {
      if (await isUnread(host, engine, candidate)) return;
      const document = parseToml(candidate.wanted, path);
      if (candidate.handlers.length > 0)
        await checkImports(host, engine, document, candidate.handlers);
      const wanted = pick(definedRuntimes(document, engine, path), candidate.handlers);
      const change = { wanted, dropped: candidate.dropped };
      await validateMain(
        host,
        engine,
        candidate.current,
        Buffer.from(candidate.wanted),
        change,
        signal,
      );
    },
    isLoaded: (status, text, handlers) => !differsFromFile(status, runtimes(text), handlers),
    others: async () => {
      const { bytes } = await readHostFile(host, path);
      return Object.keys(runtimes(textOf(bytes, path)));
    },
  };
}

/**
 * `path` is matched by a pattern of the imports of the main file, whose text is `main`. The drop-in says the main
 * file's version: containerd does not take over what comes in a newer one.
 */
export function dropInFile(
  host: Host,
  engine: Engine,
  owner: string,
  path: string,
  main: string,
): EngineFile {
  const document = parseToml(main, engine.configPath);
  const runtimes = (text: string): TomlTable =>
    text === '' ? {} : definedRuntimes(parseToml(text, path), engine, path);
  return {
    path,
    isOurs: true,
    installed: (text, registrations) => {
      assertCriEnabled(document, engine.configPath);
      const schema = documentSchema(document, engine, engine.configPath);
      const handlers = registrations.map(({ handler }) => handler);
      const theirs = tableAt(document, schema.runtimes) ?? {};
      assertNotInstalledByOthers(theirs, handlers, engine.configPath);
      const version = { path: [], entries: { version: schema.version } };
      const tables = [version, ...handlerTables(schema, engine, document, registrations)];
      return extendDocument(text, owner, tables, BLOCK_COMMENT, path);
    },
    removed: (text) => removedText(text, engine, owner, path),
    ownHandlers: (text) => ownHandlers(text, engine, owner, path),
    validate: async (candidate, signal) => {
      if (await isUnread(host, engine, candidate)) return;
      if (candidate.handlers.length > 0)
        await checkImports(host, engine, document, candidate.handlers, [candidate.current.path]);
      const wanted = pick(runtimes(candidate.wanted), candidate.handlers);
      await validateDropIn(host, engine, candidate, { wanted, dropped: candidate.dropped }, signal);
    },
    isLoaded: (status, text, handlers) => !differsFromFile(status, runtimes(text), handlers),
    others: () =>
      Promise.resolve(Object.keys(definedRuntimes(document, engine, engine.configPath))),
  };
}

/** Nobody is left who would read the file: an engine that was taken off the host must not keep our handlers in it. */
async function isUnread(host: Host, engine: Engine, { handlers }: Candidate): Promise<boolean> {
  return handlers.length === 0 && !(await existsOnHost(host, engine.binaryPath));
}

function pick(runtimes: TomlTable, handlers: readonly string[]): TomlTable {
  return Object.fromEntries(handlers.map((handler) => [handler, runtimes[handler] ?? {}]));
}
