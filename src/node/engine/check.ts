/**
 * The named check of preflight: could the engine's configuration take our handlers, as it is now?
 *
 * Writes nothing; what it refuses is refused before anything expensive happens.
 */
import { KataError } from '../../errors.ts';
import type { Host } from '../host/host.ts';
import { type HostFile, readHostFile } from '../host/hostFile.ts';
import { parseToml } from '../toml/document.ts';
import { dumpCurrent } from './containerd/dump.ts';
import { textOf } from './containerd/edit.ts';
import { checkImports } from './containerd/imports.ts';
import { assertStartable } from './containerd/startable.ts';
import { checkCrio } from './crio/dropIn.ts';
import { sha256Of } from './configFile.ts';
import type { Engine } from './engine.ts';
import { locateFile } from './locate.ts';
import type { EngineRecord } from './record.ts';
import { engineStatus } from './serving.ts';

/** A handler that nobody has: tells whether the file can be extended at all. */
const PROBE = {
  handler: 'kata-operator-probe',
  shimPath: '/nonexistent',
  configPath: '/nonexistent',
  podAnnotations: [],
};

/**
 * `known`: what an earlier run has written down of its edit. Throws KATA_E_ENGINE_CONFIG_INVALID or _CONFLICT for a file that cannot be extended, KATA_E_ENGINE_REJECTED_CONFIG
 * for one that the engine itself does not take, KATA_E_ENGINE_NOT_FOUND when a running engine is not ready.
 */
export async function checkEngineConfig(
  host: Host,
  engine: Engine,
  signal: AbortSignal,
  known?: EngineRecord,
): Promise<void> {
  if (engine.name === 'crio') await checkCrio(host, engine, signal);
  else await checkContainerd(host, engine, signal, known);
  if (!engine.running) return;
  const status = await engineStatus(host, engine, signal);
  if (!status.runtimeReady)
    throw new KataError('KATA_E_ENGINE_NOT_FOUND', {
      cause: `CRI at ${engine.socket} is not ready: ${status.notReadyCause}`,
    });
}

/**
 * True when this very binary has accepted these very bytes, in the run that put them there. With imports they would not
 * be all that it reads.
 */
function wasJudged(engine: Engine, file: HostFile, known: EngineRecord | undefined): boolean {
  return (
    known?.judged !== undefined &&
    known.original.path === file.path &&
    known.engine.binaryIdentity !== undefined &&
    known.engine.binaryIdentity === engine.binaryIdentity &&
    known.judged.sha256 === sha256Of(file.bytes)
  );
}

async function checkContainerd(
  host: Host,
  engine: Engine,
  signal: AbortSignal,
  known: EngineRecord | undefined,
): Promise<void> {
  const file = await readHostFile(host, engine.configPath);
  const text = textOf(file.bytes, engine.configPath);
  const document = parseToml(text, engine.configPath);
  if (document['imports'] === undefined && wasJudged(engine, file, known)) return;
  const way = await locateFile(host, engine, PROBE.handler, { purpose: 'install' }, signal);
  way.installed(way.isOurs ? '' : text, [PROBE]);
  await checkImports(host, engine, document, []);
  await assertStartable(host, engine, await dumpCurrent(host, engine, file, signal), signal);
}
