/**
 * k3s, RKE2 and MicroK8s write containerd's configuration anew at every start, from a template: our block goes into
 * the template, behind everything else.
 *
 * The template is no TOML, so it is never parsed. What is validated is what will come of it: the configuration that
 * was written from it last, with our block. The block's own lines pass through the template unchanged.
 */
import { KataError } from '../../../errors.ts';
import type { Host } from '../../host/host.ts';
import { readHostFile } from '../../host/hostFile.ts';
import { findBlock, withBlock, withoutBlock } from '../../toml/block.ts';
import { parseToml, tableAt, type TomlTable } from '../../toml/document.ts';
import { installedText, textOf } from '../containerd/edit.ts';
import { mainFile } from '../containerd/files.ts';
import { differsFromFile } from '../containerd/loaded.ts';
import { documentSchema } from '../containerd/schema.ts';
import type { Engine } from '../engine.ts';
import type { EngineFile } from '../engineFile.ts';
import type { Template } from './presets.ts';

export async function templateFile(
  host: Host,
  engine: Engine,
  owner: string,
  { path, header }: Template,
): Promise<EngineFile> {
  const main = mainFile(host, engine, owner);
  const rendered = await readHostFile(host, engine.configPath);
  const written = textOf(rendered.bytes, engine.configPath);
  const base = withoutBlock(written, owner, engine.configPath);
  const ownHeader = header === undefined ? undefined : `${header}\n`;

  const tables = (text: string): TomlTable => {
    const block = findBlock(text, owner, path);
    const { runtimes } = documentSchema(parseToml(base, engine.configPath), engine, path);
    return block === undefined ? {} : (tableAt(parseToml(block.body, path), runtimes) ?? {});
  };

  return {
    path,
    // A new one has nothing but our header and our block: without them it is empty.
    isOurs: header !== undefined,
    installed: (text, registrations) => {
      if (text === '' && ownHeader === undefined)
        throw new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', {
          file: path,
          cause: `it is missing, and ${engine.configPath} is written from it at every start`,
        });
      const wanted = installedText(base, engine, owner, registrations, engine.configPath);
      const lines = findBlock(wanted, owner, path)?.body.split(/\r?\n/).slice(0, -1) ?? [];
      return withBlock(text === '' ? (ownHeader ?? '') : text, owner, lines, path);
    },
    removed: (text) => {
      const rest = withoutBlock(text, owner, path);
      return rest === ownHeader ? '' : rest;
    },
    ownHandlers: (text) => Object.keys(tables(text)),
    validate: async (candidate, signal) => {
      const block = findBlock(candidate.wanted, owner, path);
      const lines = block?.body.split(/\r?\n/).slice(0, -1);
      const wanted = lines === undefined ? base : withBlock(base, owner, lines, path);
      await main.validate({ ...candidate, current: rendered, text: written, wanted }, signal);
    },
    isLoaded: (status, text, handlers) => !differsFromFile(status, tables(text), handlers),
    others: async () => {
      const ours = Object.keys(tables(written));
      return (await main.others()).filter((handler) => !ours.includes(handler));
    },
  };
}
