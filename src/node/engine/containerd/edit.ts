/**
 * From the text of config.toml to the text that should be there: with our handlers, or without them.
 *
 * Pure: the same text in gives the same text out, so asking twice is the check whether something is left to do.
 */
import { decodeToml, parseToml, tableAt, type TomlTable } from '../../toml/document.ts';
import { findBlock, lineEndOf, withoutBlock } from '../../toml/block.ts';
import { assertPlainKeys } from '../../toml/conflict.ts';
import { extendDocument, reduceDocument } from '../../toml/extend.ts';
import type { BlockTable } from '../../toml/render.ts';
import { type Engine, type HandlerRegistration, isAtLeast } from '../engine.ts';
import { assertNotInstalledByOthers } from './others.ts';
import {
  assertCriEnabled,
  BUILTIN_RUNTIME,
  documentSchema,
  handlerTables,
  isBlank,
  newFileVersion,
} from './schema.ts';

export const BLOCK_COMMENT = [
  '# Kata Containers, written by kata-operator. Changes in this block are refused: change the KataDeployment.',
];

/** `bytes` undefined: there is no file. `file` is its path on the host. */
export function textOf(bytes: Uint8Array | undefined, file: string): string {
  return bytes === undefined ? '' : decodeToml(bytes, file);
}

/** The text with our block for exactly these handlers. Throws KATA_E_ENGINE_CONFIG_*, KATA_E_CONFIG_EDITED, KATA_E_ENGINE_UNSUPPORTED. */
export function installedText(
  text: string,
  engine: Engine,
  owner: string,
  registrations: readonly HandlerRegistration[],
  file: string,
): string {
  const outside = parseToml(withoutBlock(text, owner, file), file);
  const schema = documentSchema(outside, engine, file);
  assertCriEnabled(outside, file);
  const handlers = registrations.map(({ handler }) => handler);
  assertNotInstalledByOthers(tableAt(outside, schema.runtimes) ?? {}, handlers, file);
  // To the parser of containerd 1.x, "a\u002eb" is another key than "a.b".
  if (!isAtLeast(engine, 2, 0)) assertPlainKeys(withoutBlock(text, owner, file), file);
  const root: BlockTable[] = isBlank(outside)
    ? [{ path: [], entries: { version: schema.version } }]
    : [];
  return extendDocument(
    text,
    owner,
    [...root, ...handlerTables(schema, engine, outside, registrations)],
    BLOCK_COMMENT,
    file,
  );
}

/**
 * The text without our block. When the block carried the only `version` of the file and somebody has added
 * settings since, the version stays: without it the file would mean something else.
 */
export function removedText(text: string, engine: Engine, owner: string, file: string): string {
  const outside = parseToml(withoutBlock(text, owner, file), file);
  const orphaned =
    !isBlank(outside) &&
    outside['version'] === undefined &&
    parseToml(text, file)['version'] !== undefined;
  const lineEnd = lineEndOf(text) === 'crlf' ? '\r\n' : '\n';
  return reduceDocument(
    text,
    owner,
    file,
    orphaned ? `version = ${newFileVersion(engine)}${lineEnd}` : '',
  );
}

/** Names of the Kata handlers in our block. */
export function ownHandlers(text: string, engine: Engine, owner: string, file: string): string[] {
  const block = findBlock(text, owner, file);
  if (block === undefined) return [];
  const { runtimes } = documentSchema(parseToml(text, file), engine, file);
  return Object.keys(tableAt(parseToml(block.body, file), runtimes) ?? {}).filter(
    (handler) => handler !== BUILTIN_RUNTIME,
  );
}

/** Table of the runtimes that the document itself defines, by handler. */
export function definedRuntimes(document: TomlTable, engine: Engine, file: string): TomlTable {
  return tableAt(document, documentSchema(document, engine, file).runtimes) ?? {};
}
