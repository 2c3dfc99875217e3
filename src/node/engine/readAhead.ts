/**
 * Has shims in memory before the engine is restarted.
 *
 * containerd 2.4 starts the shim of every handler while it starts itself, to ask what it can do. What was just
 * unpacked went past the page cache: read from disk then, by an engine that serves nobody, it would lengthen the outage.
 */
import { open } from 'node:fs/promises';
import type { Host } from '../host/host.ts';

const CHUNK_BYTES = 1024 * 1024;

/** Never fails: what cannot be read is the engine's to complain about. */
export async function readAhead(
  host: Host,
  paths: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  for (const path of new Set(paths))
    await readThrough(host.at(path), signal).catch(() => undefined);
}

async function readThrough(path: string, signal: AbortSignal): Promise<void> {
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    while (!signal.aborted && (await file.read(buffer, 0, CHUNK_BYTES)).bytesRead > 0);
  } finally {
    await file.close();
  }
}
