/**
 * A state that cannot be read, when everything is to be taken off all the same: what can be understood of it, part by
 * part, and what the host itself shows.
 *
 * Says what is not known any more. Never takes a host for one's own that shows another owner, and never lets files go
 * that an engine's configuration still names.
 */
import { readFile, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';
import type { Engine } from '../engine/index.ts';
import type { Host } from '../host/host.ts';
import { StateFile, salvageState, type NodeState } from '../transaction/journal.ts';
import type { StageContext } from './context.ts';

/** Where engines of every kind have their configuration, if nothing else tells. */
const USUAL_DIRECTORIES = ['/etc/containerd', '/etc/crio'];

const OPENING = /^\uFEFF?# >>> kata-operator (\S+) >>>/gm;
const READ_BY_ENGINES = /\.(toml|conf|tmpl)$/;

/** What is lost with a part of the state, and what is done without it. */
const LOST: Partial<Readonly<Record<keyof NodeState, string>>> = {
  deployment: 'to which KataDeployment it belongs (the one of the plan is taken)',
  created: `which directories were here before (${HOST_PATHS.installation} goes if nothing else is in it, ${dirname(HOST_PATHS.installation)} stays)`,
  engine:
    "how the engine's configuration was before the first edit (our block is taken out, every other byte stays, and so do, empty, a file and a directory that were made for it)",
};

/** Nothing, when the state can be read. Throws KATA_E_NODE_CONFLICT. */
export async function repairState(context: StageContext): Promise<void> {
  const { host, plan, engine: port, signal, observe } = context;
  const startedAt = performance.now();
  const salvaged = await salvageState(host);
  if (salvaged === undefined) return;
  const { state, lost, error } = salvaged;
  const engine = await port.discoverEngine(host, plan.engine, signal).catch(() => undefined);
  signal.throwIfAborted();
  const blocks = await findBlocks(host, engine);
  const other = blocks.find(({ owner }) => owner !== plan.deployment);
  if (state.deployment === undefined && other !== undefined)
    throw new KataError('KATA_E_NODE_CONFLICT', { node: 'this node', owner: other.owner });
  await new StateFile(host).replace({
    ...state,
    created: lost.has('created') ? [HOST_PATHS.installation] : state.created,
    deployment: state.deployment ?? plan.deployment,
  });
  const unknown = Object.entries(LOST).flatMap(([name, what]) => (lost.has(name) ? [what] : []));
  const rest =
    unknown.length === 0
      ? 'All that is needed can still be read'
      : `Not known any more: ${unknown.join('; ')}`;
  observe(
    'State',
    'failed',
    Math.round(performance.now() - startedAt),
    new KataError(error.code, {
      ...error.parameters,
      cause: `${error.parameters['cause'] ?? error.message}. ${rest}`,
    }),
  );
}

/** Throws KATA_E_CONFIG_EDITED, with the file, when a block of ours is left where engines look. */
export async function requireNoBlock(host: Host): Promise<void> {
  const [block] = await findBlocks(host, undefined);
  if (block !== undefined)
    throw new KataError('KATA_E_CONFIG_EDITED', {
      file: block.path,
      cause:
        'it is still there, and there is no engine that could tell what becomes of it; the files that it names stay until it is gone',
    });
}

interface FoundBlock {
  /** Path on the host. */
  readonly path: string;
  readonly owner: string;
}

/** In the directory of the engine's configuration, in the usual ones, and in the directories right below these. */
async function findBlocks(host: Host, engine: Engine | undefined): Promise<FoundBlock[]> {
  const own =
    engine === undefined
      ? []
      : [
          dirname(engine.configPath),
          ...(engine.dropInDirectory === undefined ? [] : [engine.dropInDirectory]),
        ];
  const found = new Map<string, FoundBlock>();
  for (const directory of [...own, ...USUAL_DIRECTORIES])
    for (const path of await configurationFiles(host, directory, 2)) {
      const text = await readFile(host.at(path), 'utf8').catch(() => '');
      for (const [, owner = ''] of text.matchAll(OPENING)) found.set(path, { path, owner });
    }
  return [...found.values()];
}

async function configurationFiles(host: Host, directory: string, depth: number): Promise<string[]> {
  const entries = await readdir(host.at(directory), { withFileTypes: true }).catch(() => []);
  const files: string[] = [];
  for (const entry of entries) {
    const path = join(directory, entry.name);
    if (entry.isDirectory() && depth > 1)
      files.push(...(await configurationFiles(host, path, depth - 1)));
    else if (READ_BY_ENGINES.test(entry.name) && !entry.isDirectory()) files.push(path);
  }
  return files;
}
