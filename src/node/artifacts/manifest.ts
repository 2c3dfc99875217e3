/**
 * What `.complete` in a version's directory says: every entry of the tree, and which archive gave it.
 *
 * Owns the format and its reading. It is ours alone, but it lies on a host that others write to: whatever
 * does not parse is no manifest, and its version not complete.
 */
import { z } from 'zod';

export const MANIFEST_VERSION = 1;

const digest = z.string().regex(/^[0-9a-f]{64}$/);
/** Index into `archives`: the last one that gave the entry. */
const archive = z.int().nonnegative().optional();

const fileEntry = z.object({
  path: z.string(),
  type: z.literal('file'),
  sizeBytes: z.int().nonnegative(),
  mode: z.int().nonnegative(),
  sha256: digest,
  /** Modification time in nanoseconds when it was written; with the size it tells that nobody edited it. */
  mtimeNs: z
    .string()
    .regex(/^\d{1,20}$/)
    .optional(),
  archive,
});
const entry = z.discriminatedUnion('type', [
  fileEntry,
  z.object({ path: z.string(), type: z.literal('symlink'), target: z.string(), archive }),
  z.object({ path: z.string(), type: z.literal('directory'), archive }),
]);

export type FileEntry = Readonly<z.infer<typeof fileEntry>>;
export type ManifestEntry = Readonly<z.infer<typeof entry>>;

const manifestArchive = z.object({
  /** Of the archive as it was read. */
  sha256: digest,
  /** What it gave and a later archive gave anew. */
  replaced: z.array(entry),
});
export type ManifestArchive = Readonly<z.infer<typeof manifestArchive>>;

const summary = z.object({
  manifestVersion: z.literal(MANIFEST_VERSION),
  digest: z.string(),
  /** The artifacts' own VERSION; `unknown` when they hold none. */
  version: z.string(),
  sizeBytes: z.number(),
});
const manifest = summary.extend({
  entries: z.array(entry),
  /** In the order in which they overlay each other; empty when the version was made from a tree. */
  archives: z.array(manifestArchive).default([]),
});

export type VersionSummary = Readonly<z.infer<typeof summary>>;
export type VersionManifest = Readonly<z.infer<typeof manifest>>;

/** Undefined when `text` is no manifest of that version. The entries are not looked at. */
export function parseSummary(text: string, wanted: string): VersionSummary | undefined {
  const parsed = summary.safeParse(parseJson(text));
  return parsed.success && parsed.data.digest === wanted ? parsed.data : undefined;
}

export function parseManifest(text: string, wanted: string): VersionManifest | undefined {
  const parsed = manifest.safeParse(parseJson(text));
  return parsed.success && parsed.data.digest === wanted ? parsed.data : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
