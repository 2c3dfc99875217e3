/**
 * The named check of preflight: could the engine's configuration take our handlers, as it is now?
 *
 * Writes nothing; what it refuses is refused before anything expensive happens.
 */
import { KataError } from '../../errors.ts';
import type { Host } from '../host/host.ts';
import { readHostFile } from '../host/hostFile.ts';
import { parseToml } from '../toml/document.ts';
import { dumpCurrent } from './containerd/dump.ts';
import { textOf } from './containerd/edit.ts';
import { checkImports } from './containerd/imports.ts';
import { assertStartable } from './containerd/startable.ts';
import { checkCrio } from './crio/dropIn.ts';
import type { Engine } from './engine.ts';
import { locateFile } from './locate.ts';
import { engineStatus } from './serving.ts';

/** A handler that nobody has: tells whether the file can be extended at all. */
const PROBE = {
  handler: 'kata-operator-probe',
  shimPath: '/nonexistent',
  configPath: '/nonexistent',
  podAnnotations: [],
};

/**
 * Throws KATA_E_ENGINE_CONFIG_INVALID or _CONFLICT for a file that cannot be extended, KATA_E_ENGINE_REJECTED_CONFIG
 * for one that the engine itself does not take, KATA_E_ENGINE_NOT_FOUND when a running engine is not ready.
 */
export async function checkEngineConfig(
  host: Host,
  engine: Engine,
  signal: AbortSignal,
): Promise<void> {
  if (engine.name === 'crio') await checkCrio(host, engine, signal);
  else await checkContainerd(host, engine, signal);
  if (!engine.running) return;
  const status = await engineStatus(host, engine, signal);
  if (!status.runtimeReady)
    throw new KataError('KATA_E_ENGINE_NOT_FOUND', {
      cause: `CRI at ${engine.socket} is not ready: ${status.notReadyCause}`,
    });
}

async function checkContainerd(host: Host, engine: Engine, signal: AbortSignal): Promise<void> {
  const file = await readHostFile(host, engine.configPath);
  const text = textOf(file.bytes, engine.configPath);
  const way = await locateFile(host, engine, PROBE.handler, { purpose: 'install' }, signal);
  way.installed(way.isOurs ? '' : text, [PROBE]);
  await checkImports(host, engine, parseToml(text, engine.configPath), []);
  await assertStartable(host, engine, await dumpCurrent(host, engine, file, signal), signal);
}
