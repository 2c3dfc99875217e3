/**
 * What must be remembered of an engine edit so that it can be taken back, also by a process that did not make it.
 *
 * Kept by the journal (the store is its business); never holds a line of the engine's configuration.
 */
import { z } from 'zod';
import { DISTRIBUTION_NAMES } from './distributions/presets.ts';
import { ENGINE_NAMES } from './engine.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

export const engineRecord = z.object({
  /** Name in our block's markers. */
  owner: z.string(),
  engine: z.object({
    name: z.enum(ENGINE_NAMES),
    version: z.string(),
    configPath: z.string(),
    dropInDirectory: z.string().optional(),
    distribution: z.enum(DISTRIBUTION_NAMES).optional(),
    unit: z.string().optional(),
    socket: z.string(),
    binaryPath: z.string(),
    binaryIdentity: z.string().optional(),
    running: z.boolean(),
  }),
  /** The configuration file before the first edit, links resolved. Never changed by later edits. */
  original: z.object({
    path: z.string(),
    existed: z.boolean(),
    sha256: sha256.optional(),
    mode: z.int(),
    uid: z.int(),
    gid: z.int(),
    /** Directory that had to be made for it. */
    createdDirectory: z.string().optional(),
  }),
  /** The file as our last edit left it, for this wish: `engine.binaryPath` has accepted these bytes. */
  judged: z.object({ sha256, target: z.string() }).optional(),
  /** Every handler that our block has held since the first edit. */
  handlers: z.array(z.string()),
  /** The last edit, so that it can be undone. A side without sha256 means that there was no file. */
  change: z
    .object({
      /** Which wish this edit carried out (a hash of the handlers, or `none`): undo of another wish leaves it alone. */
      target: z.string(),
      beforeSha256: sha256.optional(),
      afterSha256: sha256.optional(),
      /** Copy of the file as it was before this edit; path on the host. */
      backup: z.string().optional(),
    })
    .optional(),
});

export type EngineRecord = z.infer<typeof engineRecord>;

/** Durable when `set` resolves: what it says must outlive a crash that comes right after. */
export interface EngineRecordStore {
  get(): Promise<EngineRecord | undefined>;
  set(record: EngineRecord): Promise<void>;
  clear(): Promise<void>;
}
