/**
 * Where containerd keeps its runtimes, per version of its configuration file, and what a Kata handler looks like there.
 *
 * Pure. Facts from containerd's own sources: pkg/cri/config (1.6, 1.7) and internal/cri/config (2.x).
 */
import { KataError } from '../../../errors.ts';
import { tableAt, valueAt, type TomlTable } from '../../toml/document.ts';
import type { BlockTable } from '../../toml/render.ts';
import { describeEngine, isAtLeast, type Engine, type HandlerRegistration } from '../engine.ts';

export interface Schema {
  /** `version` of the file: 2, or 3 and above (containerd ≥ 2.0). */
  readonly version: number;
  /** Path of the CRI plugin's runtime section. */
  readonly plugin: readonly string[];
  /** Path of the table of runtimes. */
  readonly runtimes: readonly string[];
  /** Path of the table that tells which snapshotter unpacks images for a handler; version 2 derives it from the runtime. */
  readonly platforms?: readonly string[];
}

/** The version that a dump of this binary is printed in has the same tables as one of these two. */
export function schemaOf(version: number): Schema {
  if (version === 2) {
    const plugin = ['plugins', 'io.containerd.grpc.v1.cri'];
    return { version, plugin, runtimes: [...plugin, 'containerd', 'runtimes'] };
  }
  const plugin = ['plugins', 'io.containerd.cri.v1.runtime'];
  return {
    version,
    plugin,
    runtimes: [...plugin, 'containerd', 'runtimes'],
    platforms: ['plugins', 'io.containerd.cri.v1.images', 'runtime_platforms'],
  };
}

/** Newest file version that we know the tables of; an unknown one is refused rather than guessed. */
const NEWEST_VERSION = 4;

/** Version that a new file is given: the newest that every release of that major version reads. */
export function newFileVersion(engine: Engine): number {
  return isAtLeast(engine, 2, 0) ? 3 : 2;
}

/** True for a document without any setting: comments and blank lines only. */
export function isBlank(document: TomlTable): boolean {
  return Object.keys(document).length === 0;
}

/** The schema of an administrator's document. Throws KATA_E_ENGINE_CONFIG_CONFLICT when it cannot carry our tables. */
export function documentSchema(document: TomlTable, engine: Engine, file: string): Schema {
  if (isBlank(document)) return schemaOf(newFileVersion(engine));
  const version = document['version'];
  if (version === undefined || version === 1n) {
    throw conflict(
      file,
      'it has no "version", which means the format of containerd 1.0; migrate it to version = 2 (containerd config migrate)',
    );
  }
  if (typeof version !== 'bigint' || version < 2n || version > BigInt(NEWEST_VERSION)) {
    throw conflict(
      file,
      `version = ${typeof version === 'bigint' ? version.toString() : typeof version} is not one that kata-operator knows (2 to ${NEWEST_VERSION})`,
    );
  }
  if (version > 2n && !isAtLeast(engine, 2, 0)) {
    throw conflict(
      file,
      `version = ${version.toString()} is newer than ${describeEngine(engine)} reads`,
    );
  }
  return schemaOf(Number(version));
}

/** Throws KATA_E_ENGINE_CONFIG_CONFLICT when the file turns CRI off: Pods could not run here at all. */
export function assertCriEnabled(document: TomlTable, file: string): void {
  const disabled = document['disabled_plugins'];
  const cri = ['cri', 'io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.runtime'];
  const names: unknown[] = Array.isArray(disabled) ? disabled : [];
  const found = names.find((plugin) => typeof plugin === 'string' && cri.includes(plugin));
  if (typeof found === 'string')
    throw conflict(
      file,
      `disabled_plugins holds "${found}", so this containerd does not serve Kubernetes; remove it from the list`,
    );
}

/** Throws KATA_E_ENGINE_CONFIG_CONFLICT when the default runtime is not defined: a restart would then end without CRI. */
export function assertDefaultRuntime(dump: TomlTable, file: string): void {
  const schema = schemaOf(Number(dump['version']));
  const name = valueAt(dump, [...schema.plugin, 'containerd', 'default_runtime_name']);
  if (typeof name === 'string' && tableAt(dump, [...schema.runtimes, name]) === undefined) {
    throw conflict(
      file,
      `default_runtime_name is "${name}", which is not defined: the next restart of containerd would end without CRI`,
    );
  }
}

/** The runtime that containerd 1.x has without any configuration. */
export const BUILTIN_RUNTIME = 'runc';

/**
 * The tables of our block, for a document that holds `outside` besides. Throws KATA_E_ENGINE_UNSUPPORTED for what
 * this containerd cannot do.
 */
export function handlerTables(
  schema: Schema,
  engine: Engine,
  outside: TomlTable,
  registrations: readonly HandlerRegistration[],
): BlockTable[] {
  return [
    ...builtinTables(schema, engine, outside),
    ...registrations.flatMap((registration) => handlerTable(schema, engine, registration)),
  ];
}

/**
 * containerd 1.x forgets its built-in runc as soon as the file defines any runtime, and with it CRI as a whole
 * (the default runtime is then undefined). Where the file defined none, ours must bring runc along as it was.
 */
function builtinTables(schema: Schema, engine: Engine, outside: TomlTable): BlockTable[] {
  if (isAtLeast(engine, 2, 0) || tableAt(outside, schema.runtimes) !== undefined) return [];
  const path = [...schema.runtimes, BUILTIN_RUNTIME];
  const texts = [
    'BinaryName',
    'CriuImagePath',
    'CriuPath',
    'CriuWorkPath',
    'Root',
    'ShimCgroup',
  ].map((key) => [key, ''] as const);
  return [
    {
      path,
      entries: {
        runtime_type: 'io.containerd.runc.v2',
        ...(isAtLeast(engine, 1, 7) ? { sandbox_mode: 'podsandbox' } : {}),
      },
    },
    {
      path: [...path, 'options'],
      entries: {
        ...Object.fromEntries(texts),
        IoGid: 0,
        IoUid: 0,
        NoNewKeyring: false,
        NoPivotRoot: false,
        SystemdCgroup: false,
      },
    },
  ];
}

function handlerTable(
  schema: Schema,
  engine: Engine,
  registration: HandlerRegistration,
): BlockTable[] {
  const { handler, snapshotter } = registration;
  if (snapshotter !== undefined && !isAtLeast(engine, 1, 7)) {
    throw new KataError('KATA_E_ENGINE_UNSUPPORTED', {
      engine: describeEngine(engine),
      cause: `handler ${handler} wants snapshotter ${snapshotter}, and a snapshotter per handler exists since containerd 1.7`,
    });
  }
  const path = [...schema.runtimes, handler];
  return [
    {
      path,
      entries: {
        ...shimEntries(engine, registration.shimPath),
        privileged_without_host_devices: true,
        pod_annotations: registration.podAnnotations,
        container_annotations: ['io.kubernetes.container.terminationMessage*'],
        ...(snapshotter === undefined ? {} : { snapshotter }),
      },
    },
    { path: [...path, 'options'], entries: { ConfigPath: registration.configPath } },
    ...(snapshotter === undefined || schema.platforms === undefined
      ? []
      : [{ path: [...schema.platforms, handler], entries: { snapshotter } }]),
  ];
}

/**
 * Which binary the shim is. containerd 1.6 and 1.7.0 read runtime_path and then look for the shim in PATH all the same:
 * every sandbox would fail. They take an absolute path as the type (since 1.6.0).
 */
function shimEntries(engine: Engine, shimPath: string): BlockTable['entries'] {
  if (!isAtLeast(engine, 1, 7) || engine.version === '1.7.0') return { runtime_type: shimPath };
  // The name that task API and metadata know.
  return { runtime_type: 'io.containerd.kata.v2', runtime_path: shimPath };
}

function conflict(file: string, cause: string): KataError {
  return new KataError('KATA_E_ENGINE_CONFIG_CONFLICT', { file, cause });
}
