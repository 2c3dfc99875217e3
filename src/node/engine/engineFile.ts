/**
 * The one file that is edited to give an engine its Kata handlers: the engine's own configuration file with a
 * managed block, or a drop-in file that is all ours. Everything that differs between engines and ways is behind it.
 *
 * An EngineFile never writes; it says what should be written and what the running engine makes of it.
 */
import type { HostFile } from '../host/hostFile.ts';
import type { CriStatus } from './cri/client.ts';
import type { HandlerRegistration } from './engine.ts';

export interface Candidate {
  /** The file as it is. */
  readonly current: HostFile;
  readonly text: string;
  /** What it would become; empty: there would be no file. */
  readonly wanted: string;
  /** Handlers that the candidate defines for us, and those that it gives up. */
  readonly handlers: readonly string[];
  readonly dropped: readonly string[];
}

export interface EngineFile {
  /** Path on the host, as the engine names it. */
  readonly path: string;
  /** True for a file of our own: it goes when nothing is left in it. */
  readonly isOurs: boolean;
  /** The text with exactly these handlers. The same text when nothing is left to do. Throws KATA_E_ENGINE_CONFIG_*, KATA_E_CONFIG_EDITED, KATA_E_ENGINE_UNSUPPORTED. */
  installed(text: string, registrations: readonly HandlerRegistration[]): string;
  /** The text without anything of ours; empty when the file was all ours. */
  removed(text: string): string;
  /** Names of our handlers in the text. */
  ownHandlers(text: string): string[];
  /** Asks the node's own engine what it makes of the candidate. Throws KATA_E_ENGINE_REJECTED_CONFIG, _CONFLICT, _INVALID. */
  validate(candidate: Candidate, signal: AbortSignal): Promise<void>;
  /** True when what the engine has loaded of these handlers is what the text defines. */
  isLoaded(status: CriStatus, text: string, handlers: readonly string[]): boolean;
  /** Handlers of others that must be served after a restart. */
  others(): Promise<string[]>;
}
