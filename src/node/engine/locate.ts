/**
 * Which file is edited. Told from the host alone: where our handlers are already, they stay; else a drop-in where
 * one is safe, else the main file.
 */
import { basename, dirname, isAbsolute, join, normalize } from 'node:path';
import type { Host } from '../host/host.ts';
import { existsOnHost, readHostFile, resolveOnHost } from '../host/hostFile.ts';
import { findBlock } from '../toml/block.ts';
import { parseToml } from '../toml/document.ts';
import { effectivePatterns } from './containerd/dump.ts';
import { textOf } from './containerd/edit.ts';
import { dropInFile, mainFile } from './containerd/files.ts';
import { segmentExpression } from './containerd/imports.ts';
import { crioFile } from './crio/dropIn.ts';
import { type Distribution, distributionNamed } from './distributions/presets.ts';
import { templateFile } from './distributions/template.ts';
import { type Engine, engineRelease, isAtLeast } from './engine.ts';
import type { EngineFile } from './engineFile.ts';

export interface Search {
  /** Without an edit of ours so far, only `install` looks for the best place, which asks the engine's binary. */
  readonly purpose: 'install' | 'look';
  /** The file of an edit that is not settled yet, links resolved. */
  readonly remembered?: string | undefined;
}

export async function locateFile(
  host: Host,
  engine: Engine,
  owner: string,
  { purpose, remembered }: Search,
  signal: AbortSignal,
): Promise<EngineFile> {
  if (engine.name === 'crio') return crioFile(host, engine, owner);
  const { bytes } = await readHostFile(host, engine.configPath);
  const text = textOf(bytes, engine.configPath);
  const distribution =
    engine.distribution === undefined ? undefined : distributionNamed(engine.distribution);
  const [major] = engineRelease(engine);
  const template = distribution?.template?.(engine.configPath, major);
  const main =
    template === undefined
      ? mainFile(host, engine, owner)
      : await templateFile(host, engine, owner, template);
  // containerd 1.x replaces the whole section of the CRI plugin by that of an imported file.
  if (!isAtLeast(engine, 2, 0)) return main;
  if (await holdsBlock(host, main.path, owner)) return main;
  const name = `kata-operator-${owner}.toml`;
  const merged = mergedDirectory(text, distribution);
  if (merged !== undefined) return dropInFile(host, engine, owner, join(merged, name), text);
  const patterns = patternsOf(text, engine).filter((pattern) =>
    segmentExpression(basename(pattern)).test(name),
  );
  const paths = patterns.map((pattern) => join(dirname(pattern), name));
  for (const path of paths)
    if ((await existsOnHost(host, path)) || (await resolveOnHost(host, path)) === remembered)
      return dropInFile(host, engine, owner, path, text);
  if (purpose === 'look') return main;
  const path = await firstUsable(host, engine, patterns, name, signal);
  return path === undefined ? main : dropInFile(host, engine, owner, path, text);
}

/** A file of somebody else's is read as text only: it may be a template. */
async function holdsBlock(host: Host, path: string, owner: string): Promise<boolean> {
  const { bytes } = await readHostFile(host, path);
  return findBlock(textOf(bytes, path), owner, path) !== undefined;
}

/** The directory that the distribution merges, unless an administrator has taken the engine's file over. */
function mergedDirectory(text: string, distribution: Distribution | undefined): string | undefined {
  return /^# *k0s_managed=true *$/m.test(text) ? distribution?.dropInDirectory : undefined;
}

/**
 * Patterns by which the file itself imports whole directories. containerd ≥ 2.2 shows /etc/containerd/conf.d in every
 * dump, since it is in its defaults, and yet follows only what is written in a file.
 */
function patternsOf(text: string, engine: Engine): string[] {
  const { imports } = parseToml(text, engine.configPath);
  return (Array.isArray(imports) ? imports : [])
    .filter((entry) => typeof entry === 'string')
    .map((entry) => absolute(entry, engine))
    .filter((pattern) => basename(pattern).includes('*') && !dirname(pattern).includes('*'));
}

/** A directory that is there, and whose pattern the engine really follows. */
async function firstUsable(
  host: Host,
  engine: Engine,
  patterns: readonly string[],
  name: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const present: string[] = [];
  for (const pattern of patterns)
    // A distribution names its directory and leaves it to others to make it.
    if (engine.distribution !== undefined || (await existsOnHost(host, dirname(pattern))))
      present.push(pattern);
  if (present.length === 0) return undefined;
  const effective = await effectivePatterns(host, engine, signal);
  const followed = new Set(effective.map((entry) => absolute(entry, engine)));
  const pattern = present.find((candidate) => followed.has(candidate));
  return pattern === undefined ? undefined : join(dirname(pattern), name);
}

/** containerd reads a relative import beside the file that holds it. */
function absolute(pattern: string, { configPath }: Engine): string {
  return normalize(isAbsolute(pattern) ? pattern : join(dirname(configPath), pattern));
}
