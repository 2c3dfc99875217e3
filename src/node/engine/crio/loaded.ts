/**
 * What the running CRI-O has loaded, as it says itself over CRI (Status, verbose).
 */
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { CriStatus } from '../cri/client.ts';
import { isTable, type TomlTable, type TomlValue } from '../../toml/document.ts';

/** CRI-O prints its Go structures: these are the names of their fields. */
const loadedRuntime = z.object({
  RuntimePath: z.string().default(''),
  RuntimeType: z.string().default(''),
  RuntimeConfigPath: z.string().default(''),
  PrivilegedWithoutHostDevices: z.boolean().default(false),
});

type LoadedRuntime = z.infer<typeof loadedRuntime>;

const configInfo = z.object({
  crio: z.object({ Runtimes: z.record(z.string(), loadedRuntime).nullish() }),
});

/** True when what is loaded of these handlers is not what the file defines. Older ones tell only which handlers they have. */
export function differsFromCrio(
  status: CriStatus,
  defined: TomlTable,
  handlers: readonly string[],
): boolean {
  const loaded = loadedRuntimes(status);
  if (loaded === undefined)
    return handlers.some((name) => status.handlers.includes(name) !== Object.hasOwn(defined, name));
  return handlers.some((name) => {
    const table = defined[name];
    return !isDeepStrictEqual(loaded[name], isTable(table) ? fromTable(table) : undefined);
  });
}

/** Names of all runtimes, where CRI-O tells them in its configuration only. */
export function crioRuntimeNames(status: CriStatus): string[] {
  return Object.keys(loadedRuntimes(status) ?? {});
}

function loadedRuntimes(status: CriStatus): Readonly<Record<string, LoadedRuntime>> | undefined {
  const text = status.info['config'];
  if (text === undefined) return undefined;
  try {
    const parsed = configInfo.safeParse(JSON.parse(text));
    return parsed.success ? (parsed.data.crio.Runtimes ?? {}) : undefined;
  } catch {
    return undefined;
  }
}

function fromTable(table: TomlTable): LoadedRuntime {
  return {
    RuntimePath: text(table['runtime_path']),
    RuntimeType: text(table['runtime_type']),
    RuntimeConfigPath: text(table['runtime_config_path']),
    PrivilegedWithoutHostDevices: table['privileged_without_host_devices'] === true,
  };
}

function text(value: TomlValue | undefined): string {
  return typeof value === 'string' ? value : '';
}
