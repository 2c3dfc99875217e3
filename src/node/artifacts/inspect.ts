/**
 * What a tree offers to each handler of the plan: shim, configuration and every file that it names, built
 * for this node's architecture.
 *
 * Only reads. The tree may still be partial: paths of the release are looked up below its directory.
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { NodePlan, PlanRuntime } from '../../crds/nodePlan.ts';
import { KataError } from '../../errors.ts';
import {
  ConfigurationError,
  RELEASE_PREFIX,
  hypervisorBinaries,
  parseConfiguration,
  referencedFiles,
} from '../../kata/render.ts';
import { errnoOf, ioError } from '../host/ioError.ts';
import type { Host } from '../host/host.ts';
import { binaryKindOfFile } from './elf.ts';

export interface Offer {
  /** Runtimes that can be configured from this tree. */
  readonly runtimes: readonly PlanRuntime[];
  /** Handlers that were left out: not on this architecture, or a default one that the tree does not hold. */
  readonly skippedHandlers: readonly string[];
}

/** Throws KATA_E_ARTIFACT_INCOMPLETE, KATA_E_ARCHITECTURE, KATA_E_KATA_CONFIG. `directory` is a path on the host. */
export async function inspectTree(
  host: Host,
  directory: string,
  plan: NodePlan,
  arch: string,
): Promise<Offer> {
  const runtimes: PlanRuntime[] = [];
  const skippedHandlers: string[] = [];
  for (const runtime of plan.runtimes) {
    if (!runtime.architectures.includes(arch)) {
      skippedHandlers.push(runtime.handler);
      continue;
    }
    const missing = await missingFile(host, directory, runtime);
    if (missing === undefined) {
      await checkArchitecture(host, directory, runtime, arch);
      runtimes.push(runtime);
    } else if (runtime.required) {
      throw new KataError('KATA_E_ARTIFACT_INCOMPLETE', {
        file: missing,
        handler: runtime.handler,
      });
    } else skippedHandlers.push(runtime.handler);
  }
  if (runtimes.length === 0) {
    const [first] = plan.runtimes;
    const file = first === undefined ? 'any shim' : first.shimPath;
    throw new KataError('KATA_E_ARTIFACT_INCOMPLETE', {
      file,
      handler: skippedHandlers.join(', '),
    });
  }
  return { runtimes, skippedHandlers };
}

/** VERSION as the artifacts have it, `unknown` without one. Throws KATA_E_VERSION_MISMATCH when another is wanted. */
export async function readArtifactsVersion(
  host: Host,
  directory: string,
  wanted: string | undefined,
): Promise<string> {
  const text = await readFile(host.at(join(directory, 'VERSION')), 'utf8').catch(
    (error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return 'unknown';
      throw ioError('VERSION', error);
    },
  );
  const found = /^\s*(\S{1,64})\s*$/.exec(text)?.[1] ?? 'unknown';
  if (wanted !== undefined && wanted !== found)
    throw new KataError('KATA_E_VERSION_MISMATCH', { wanted, found });
  return found;
}

async function missingFile(
  host: Host,
  directory: string,
  runtime: PlanRuntime,
): Promise<string | undefined> {
  for (const file of [runtime.shimPath, runtime.configurationPath]) {
    if (!(await isFile(host.at(join(directory, file))))) return file;
  }
  const configuration = await readConfiguration(host, directory, runtime);
  for (const path of referencedFiles(configuration)) {
    const file = path.slice(RELEASE_PREFIX.length + 1);
    if (!(await isFile(host.at(join(directory, file))))) return file;
  }
  return undefined;
}

async function readConfiguration(
  host: Host,
  directory: string,
  { configurationPath }: PlanRuntime,
): Promise<ReturnType<typeof parseConfiguration>> {
  try {
    return parseConfiguration(await readFile(host.at(join(directory, configurationPath)), 'utf8'));
  } catch (error) {
    if (error instanceof ConfigurationError)
      throw new KataError(
        'KATA_E_KATA_CONFIG',
        { file: configurationPath, cause: error.message },
        { cause: error },
      );
    throw ioError(configurationPath, error);
  }
}

/** A shim for another machine is registered without complaint and fails in every Pod: it must be noticed here. */
async function checkArchitecture(
  host: Host,
  directory: string,
  runtime: PlanRuntime,
  arch: string,
): Promise<void> {
  const shim = await binaryKindOfFile(host.at(join(directory, runtime.shimPath)));
  if (shim === undefined)
    throw new KataError('KATA_E_ARCHITECTURE', {
      file: runtime.shimPath,
      found: 'not executable',
      wanted: arch,
    });
  const binaries = [[runtime.shimPath, shim]];
  for (const path of hypervisorBinaries(await readConfiguration(host, directory, runtime))) {
    if (!path.startsWith(`${RELEASE_PREFIX}/`)) continue;
    const file = path.slice(RELEASE_PREFIX.length + 1);
    binaries.push([file, (await binaryKindOfFile(host.at(join(directory, file)))) ?? 'script']);
  }
  for (const [file = '', found = ''] of binaries) {
    if (found !== 'script' && found !== arch)
      throw new KataError('KATA_E_ARCHITECTURE', { file, found, wanted: arch });
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}
