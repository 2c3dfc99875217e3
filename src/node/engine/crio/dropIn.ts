/**
 * CRI-O: its Kata handlers are one file of ours in crio.conf.d; no other file is touched.
 *
 * CRI-O reads every file of that directory, hidden ones too, so nothing half-written may ever lie there. Its own
 * `crio config` parses and merges, but checks runtimes only when the daemon starts: what it would refuse then
 * (a missing shim, an annotation it does not know in `allowed_annotations`) is checked or avoided here.
 */
import { join } from 'node:path';
import { KataError } from '../../../errors.ts';
import type { Host } from '../../host/host.ts';
import { existsOnHost } from '../../host/hostFile.ts';
import { parseToml, tableAt, type TomlTable } from '../../toml/document.ts';
import { extendDocument, reduceDocument } from '../../toml/extend.ts';
import type { BlockTable } from '../../toml/render.ts';
import { BLOCK_COMMENT } from '../containerd/edit.ts';
import { describeEngine, type Engine, type HandlerRegistration } from '../engine.ts';
import type { EngineFile } from '../engineFile.ts';
import { CRIO_RUNTIMES, crioConfig, validateCrio } from './candidate.ts';
import { differsFromCrio } from './loaded.ts';

/** After the files that number themselves, as is the custom there; later files win. */
export function crioFile(host: Host, engine: Engine, owner: string): EngineFile {
  const path = join(engine.dropInDirectory ?? '', `90-kata-operator-${owner}.conf`);
  const runtimes = (text: string): TomlTable => tableAt(parseToml(text, path), CRIO_RUNTIMES) ?? {};
  return {
    path,
    isOurs: true,
    installed: (text, registrations) =>
      extendDocument(
        text,
        owner,
        registrations.map((registration) => runtimeTable(engine, registration)),
        BLOCK_COMMENT,
        path,
      ),
    removed: (text) => reduceDocument(text, owner, path),
    ownHandlers: (text) => Object.keys(runtimes(text)),
    validate: async ({ current, wanted, handlers, dropped }, signal) => {
      if (handlers.length === 0 && !(await existsOnHost(host, engine.binaryPath))) return;
      const tables = runtimes(wanted);
      await assertFilesExist(host, engine, path, tables);
      await validateCrio(host, engine, { current, wanted, tables, dropped }, signal);
    },
    isLoaded: (status, text, handlers) => !differsFromCrio(status, runtimes(text), handlers),
    others: () => Promise.resolve([]),
  };
}

/** Could CRI-O's configuration take our handlers, as it is now? Writes nothing that stays. */
export async function checkCrio(host: Host, engine: Engine, signal: AbortSignal): Promise<void> {
  await crioConfig(host, engine, engine.dropInDirectory ?? '', signal);
}

function runtimeTable(
  engine: Engine,
  { handler, shimPath, configPath, snapshotter }: HandlerRegistration,
): BlockTable {
  if (snapshotter !== undefined)
    throw new KataError('KATA_E_ENGINE_UNSUPPORTED', {
      engine: describeEngine(engine),
      cause: `handler ${handler} wants snapshotter ${snapshotter}, and CRI-O has no snapshotters`,
    });
  return {
    path: [...CRIO_RUNTIMES, handler],
    entries: {
      runtime_path: shimPath,
      runtime_type: 'vm',
      runtime_root: '/run/vc',
      runtime_config_path: configPath,
      privileged_without_host_devices: true,
    },
  };
}

/** With one of them missing CRI-O would not start, and `crio config` does not notice. */
async function assertFilesExist(
  host: Host,
  engine: Engine,
  file: string,
  runtimes: TomlTable,
): Promise<void> {
  for (const [handler, table] of Object.entries(runtimes)) {
    for (const key of ['runtime_path', 'runtime_config_path']) {
      const path = tableAt({ table }, ['table'])?.[key];
      if (typeof path !== 'string' || (await existsOnHost(host, path))) continue;
      throw new KataError('KATA_E_ENGINE_REJECTED_CONFIG', {
        engine: describeEngine(engine),
        cause: `${key} of handler ${handler} is ${path}, which does not exist`,
        file,
      });
    }
  }
}
