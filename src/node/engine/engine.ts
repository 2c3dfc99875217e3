/**
 * What the rest of the node program knows of a container engine: which one, where, and how handlers are named.
 */
import type { DistributionName } from './distributions/presets.ts';

/** One handler to be served. Paths are on the host, absolute. */
export interface HandlerRegistration {
  /** Name in the engine, and of the RuntimeClass: `kata-fc`. */
  readonly handler: string;
  readonly shimPath: string;
  /** Kata's configuration.toml for this handler. */
  readonly configPath: string;
  /** Exactly these annotation keys of a Pod reach the runtime. */
  readonly podAnnotations: readonly string[];
  readonly snapshotter?: string;
}

export const ENGINE_NAMES = ['containerd', 'crio'] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

export interface Engine {
  readonly name: EngineName;
  /** `2.4.2`, `1.7.24`: what the engine's own binary says, without the distribution's suffix. */
  readonly version: string;
  /** Path on the host as the engine names it; it may be a symbolic link, and the file may be missing. */
  readonly configPath: string;
  /** Directory whose files are read after `configPath` (CRI-O). */
  readonly dropInDirectory?: string | undefined;
  /** Who writes `configPath` at every start, when it is not the administrator. */
  readonly distribution?: DistributionName | undefined;
  /** systemd unit that runs it; undefined when it is not run by systemd. */
  readonly unit?: string;
  /** CRI socket, path on the host. */
  readonly socket: string;
  readonly binaryPath: string;
  /** Tells whether the binary is still the file that said its version; missing when it could not be looked at. */
  readonly binaryIdentity?: string | undefined;
  /** False when the engine does not run: then nothing needs a restart, and handlers cannot be asked for. */
  readonly running: boolean;
}

/** `[major, minor]` */
export function engineRelease(engine: Engine): readonly [number, number] {
  const [major = 0, minor = 0] = engine.version.split('.').map(Number);
  return [major, minor];
}

/** True when the engine's version is at least the one given. */
export function isAtLeast(engine: Engine, major: number, minor: number): boolean {
  const [haveMajor, haveMinor] = engineRelease(engine);
  return haveMajor > major || (haveMajor === major && haveMinor >= minor);
}

/** For messages: `containerd 1.7.24`. */
export function describeEngine(engine: Engine): string {
  return `${engine.name === 'crio' ? 'CRI-O' : engine.name} ${engine.version}`;
}
