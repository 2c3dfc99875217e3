/**
 * What the running containerd has loaded, as it says itself over CRI (Status, verbose): compared with what the
 * file says, this tells whether a restart is needed. Timestamps and unit states prove nothing.
 */
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { CriStatus } from '../cri/client.ts';
import { isTable, type TomlTable, type TomlValue } from '../../toml/document.ts';

const strings = z
  .array(z.string())
  .nullish()
  .transform((list) => list ?? []);

/** containerd's own JSON of a runtime; the same spelling from 1.6 to 2.4. */
const loadedRuntime = z
  .object({
    runtimeType: z.string().default(''),
    runtimePath: z.string().default(''),
    PodAnnotations: strings,
    ContainerAnnotations: strings,
    privileged_without_host_devices: z.boolean().default(false),
    snapshotter: z.string().default(''),
    options: z.record(z.string(), z.unknown()).nullish(),
  })
  .transform(({ options, ...runtime }) => {
    const path = options?.['ConfigPath'];
    return { ...runtime, configPath: typeof path === 'string' ? path : '' };
  });

export type LoadedRuntime = z.infer<typeof loadedRuntime>;

const criConfig = z.object({
  containerd: z.object({ runtimes: z.record(z.string(), loadedRuntime).nullish() }),
});

/** The runtimes that the engine has loaded, by handler; undefined when it does not say. */
function loadedRuntimes(status: CriStatus): Readonly<Record<string, LoadedRuntime>> | undefined {
  const text = status.info['config'];
  if (text === undefined) return undefined;
  try {
    const parsed = criConfig.safeParse(JSON.parse(text));
    return parsed.success ? (parsed.data.containerd.runtimes ?? {}) : undefined;
  } catch {
    return undefined;
  }
}

/** The handlers that the engine serves: what it reports as such (≥ 2.0), else what it has loaded. */
export function servedBy(status: CriStatus): string[] {
  const reported = status.handlers.filter((handler) => handler !== '');
  return (reported.length > 0 ? reported : Object.keys(loadedRuntimes(status) ?? {})).toSorted();
}

/** True when what is loaded of these handlers is not what the file defines. */
export function differsFromFile(
  status: CriStatus,
  defined: TomlTable,
  handlers: readonly string[],
): boolean {
  const loaded = loadedRuntimes(status);
  if (loaded === undefined) return true;
  return handlers.some((handler) => {
    const table = defined[handler];
    return !isDeepStrictEqual(loaded[handler], isTable(table) ? fromTable(table) : undefined);
  });
}

function fromTable(table: TomlTable): LoadedRuntime {
  const options = table['options'];
  return {
    runtimeType: text(table['runtime_type']),
    runtimePath: text(table['runtime_path']),
    PodAnnotations: texts(table['pod_annotations']),
    ContainerAnnotations: texts(table['container_annotations']),
    privileged_without_host_devices: table['privileged_without_host_devices'] === true,
    snapshotter: text(table['snapshotter']),
    configPath: isTable(options) ? text(options['ConfigPath']) : '',
  };
}

function text(value: TomlValue | undefined): string {
  return typeof value === 'string' ? value : '';
}

function texts(value: TomlValue | undefined): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}
