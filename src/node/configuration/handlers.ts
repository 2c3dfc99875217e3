/**
 * The files of one revision: for every handler a configuration of its own, whose paths point into the
 * version, and for QEMU a script that tells it where its firmware is.
 *
 * Owns what these files hold and where they are. Deterministic: the same plan and version give the same
 * bytes. It reads the version and writes nothing.
 */
import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import type { NodePlan, PlanRuntime } from '../../crds/nodePlan.ts';
import { KataError } from '../../errors.ts';
import {
  ConfigurationError,
  RELEASE_PREFIX,
  hypervisorBinaries,
  parseConfiguration,
  qemuDataDirectory,
  qemuWrapper,
  referencedFiles,
  renderConfiguration,
} from '../../kata/render.ts';
import { versionPath } from '../artifacts/version.ts';
import type { HandlerRegistration } from '../engine/engine.ts';
import { isDirectory } from '../host/directories.ts';
import { ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';

export interface RevisionFile {
  /** Path on the host. */
  readonly path: string;
  readonly content: string;
  readonly mode: number;
}

export interface RevisionContent {
  readonly directories: readonly string[];
  readonly files: readonly RevisionFile[];
  readonly registrations: readonly HandlerRegistration[];
}

function revisionPath(revision: string): string {
  return join(HOST_PATHS.revisions, revision);
}

/** The plain handler of `defaultRuntime`. */
export const DEFAULT_HANDLER = 'kata';

/** Throws KATA_E_KATA_CONFIG when a configuration cannot be rendered or names a file that is not there. */
export async function revisionContent(
  host: Host,
  plan: NodePlan,
  runtimes: readonly PlanRuntime[],
  digest: string,
): Promise<RevisionContent> {
  const parts = await Promise.all(
    runtimes.map((runtime) => handlerContent(host, plan.revision, runtime, digest)),
  );
  const registrations = parts.map(({ registration }) => registration);
  const chosen = registrations.find(({ handler }) => handler === plan.defaultRuntime);
  return {
    directories: parts.flatMap(({ directories }) => directories),
    files: parts.flatMap(({ files }) => files),
    registrations:
      chosen === undefined
        ? registrations
        : [...registrations, { ...chosen, handler: DEFAULT_HANDLER }],
  };
}

interface HandlerContent {
  readonly directories: readonly string[];
  readonly files: readonly RevisionFile[];
  readonly registration: HandlerRegistration;
}

async function handlerContent(
  host: Host,
  revision: string,
  runtime: PlanRuntime,
  digest: string,
): Promise<HandlerContent> {
  const directory = join(revisionPath(revision), runtime.handler);
  const version = versionPath(digest);
  const shippedPath = join(version, runtime.configurationPath);
  const shipped = await readFile(host.at(shippedPath), 'utf8').catch((error: unknown) => {
    throw ioError(shippedPath, error);
  });
  try {
    const wrappers = await qemuWrappers(host, directory, version, shipped);
    const content = renderConfiguration(shipped, {
      versionDirectory: version,
      replacements: new Map(wrappers.map(({ shippedPath: binary, file }) => [binary, file.path])),
    });
    await requireReferencedFiles(
      host,
      content,
      wrappers.map(({ file }) => file.path),
    );
    const configPath = join(directory, 'configuration.toml');
    return {
      // Kata reads config.d beside the configuration: overrides of this handler reach no other.
      directories: [
        directory,
        join(directory, 'config.d'),
        ...(wrappers.length > 0 ? [join(directory, 'bin')] : []),
      ],
      files: [{ path: configPath, content, mode: 0o644 }, ...wrappers.map(({ file }) => file)],
      registration: {
        handler: runtime.handler,
        shimPath: join(version, runtime.shimPath),
        configPath,
        podAnnotations: runtime.podAnnotations,
        ...(runtime.snapshotter === undefined ? {} : { snapshotter: runtime.snapshotter }),
      },
    };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    throw new KataError(
      'KATA_E_KATA_CONFIG',
      { file: runtime.configurationPath, cause: error.message },
      { cause: error },
    );
  }
}

interface Wrapper {
  /** The binary as the shipped configuration names it. */
  readonly shippedPath: string;
  readonly file: RevisionFile;
}

async function qemuWrappers(
  host: Host,
  directory: string,
  version: string,
  shipped: string,
): Promise<Wrapper[]> {
  const wrappers: Wrapper[] = [];
  for (const shippedPath of new Set(hypervisorBinaries(parseConfiguration(shipped)))) {
    const binary = shippedPath.startsWith(`${RELEASE_PREFIX}/`)
      ? shippedPath.slice(RELEASE_PREFIX.length + 1)
      : '';
    const data = qemuDataDirectory(binary);
    if (data === undefined || !(await isDirectory(host, join(version, data)))) continue;
    const content = qemuWrapper(join(version, binary), join(version, data));
    wrappers.push({
      shippedPath,
      file: { path: join(directory, 'bin', basename(binary)), content, mode: 0o755 },
    });
  }
  return wrappers;
}

async function requireReferencedFiles(
  host: Host,
  content: string,
  written: readonly string[],
): Promise<void> {
  for (const path of referencedFiles(parseConfiguration(content))) {
    if (written.includes(path)) continue;
    await stat(host.at(path)).catch((error: unknown) => {
      throw new KataError(
        'KATA_E_KATA_CONFIG',
        { file: 'configuration.toml', cause: `it names ${path}, which is not there` },
        { cause: error },
      );
    });
  }
}
