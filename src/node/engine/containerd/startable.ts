/**
 * Whether containerd would come back with CRI after its next restart: what its own check of a configuration lets
 * through, and what the running process has perhaps never loaded.
 *
 * Asks the running containerd which plugins it has; never writes.
 */
import { z } from 'zod';
import { KataError } from '../../../errors.ts';
import type { Host } from '../../host/host.ts';
import { isTable, tableAt, type TomlTable, valueAt } from '../../toml/document.ts';
import { callEngine, CriUnavailable } from '../cri/client.ts';
import { encodeMessage, type MessageShape } from '../cri/wire.ts';
import type { Engine } from '../engine.ts';
import { assertCriEnabled, assertDefaultRuntime, schemaOf } from './schema.ts';

const CALL_DEADLINE_MS = 2_000;

/** containerd's introspection service; field numbers from its API. */
const PLUGINS_REQUEST: MessageShape = { 1: { name: 'filters', type: 'string' } };
const PLUGINS_RESPONSE: MessageShape = {
  1: {
    name: 'plugins',
    type: {
      message: {
        2: { name: 'id', type: 'string' },
        7: { name: 'initError', type: { message: { 1: { name: 'code', type: 'int64' } } } },
      },
    },
    repeated: true,
  },
};
const plugins = z.object({
  plugins: z.array(z.object({ id: z.string().default(''), initError: z.object({}).optional() })),
});

/** `dump` is what containerd makes of the file. Throws KATA_E_ENGINE_CONFIG_CONFLICT with what stands in the way. */
export async function assertStartable(
  host: Host,
  engine: Engine,
  dump: TomlTable,
  signal: AbortSignal,
): Promise<void> {
  assertCriEnabled(dump, engine.configPath);
  assertDefaultRuntime(dump, engine.configPath);
  if (!engine.running) return;
  const present = await loadedSnapshotters(host, engine, signal);
  if (present === undefined) return;
  const known = new Set([...present, ...proxiedSnapshotters(dump)]);
  const missing = usedSnapshotters(dump).find((name) => !known.has(name));
  if (missing !== undefined)
    throw new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', {
      file: engine.configPath,
      cause: `CRI is to use the snapshotter "${missing}", which this containerd does not have: its next restart would end without CRI`,
    });
}

/** Those that work in the running process; undefined when it does not tell. */
async function loadedSnapshotters(
  host: Host,
  engine: Engine,
  signal: AbortSignal,
): Promise<string[] | undefined> {
  try {
    const answer = await callEngine(
      host.at(engine.socket),
      'containerd.services.introspection.v1.Introspection/Plugins',
      encodeMessage(PLUGINS_REQUEST, { filters: 'type==io.containerd.snapshotter.v1' }),
      PLUGINS_RESPONSE,
      { deadlineMs: CALL_DEADLINE_MS, signal },
    );
    return plugins
      .parse(answer)
      .plugins.filter(({ initError }) => initError === undefined)
      .map(({ id }) => id);
  } catch (error) {
    if (error instanceof CriUnavailable) return undefined;
    throw error;
  }
}

/** Other processes offer them: one that was added since containerd started is there after its restart. */
function proxiedSnapshotters(dump: TomlTable): string[] {
  return Object.entries(tableAt(dump, ['proxy_plugins']) ?? {})
    .filter(([, plugin]) => isTable(plugin) && plugin['type'] === 'snapshot')
    .map(([name]) => name);
}

/** The one for all images, and those of single handlers. */
function usedSnapshotters(dump: TomlTable): string[] {
  const { plugin, runtimes, platforms } = schemaOf(Number(dump['version']));
  const images = platforms?.slice(0, -1) ?? [...plugin, 'containerd'];
  const handlers = Object.values(tableAt(dump, runtimes) ?? {});
  const names = [
    valueAt(dump, [...images, 'snapshotter']),
    ...handlers.map((handler) => (isTable(handler) ? handler['snapshotter'] : undefined)),
  ];
  return names.filter((name) => typeof name === 'string').filter((name) => name !== '');
}
