/**
 * A file's bytes in large chunks, the next one read while the one before is used.
 *
 * Two buffers serve the whole file: fresh memory for every chunk of half a gigabyte costs more than reading it.
 */
import { open } from 'node:fs/promises';

const CHUNK_BYTES = 256 * 1024;

/** A chunk is valid until the next one is asked for. */
export async function* fileChunks(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r');
  const buffers = [Buffer.allocUnsafeSlow(CHUNK_BYTES), Buffer.allocUnsafeSlow(CHUNK_BYTES)];
  const readInto = (turn: number) => {
    const reading = file.read(buffers[turn % 2] ?? Buffer.alloc(0), 0, CHUNK_BYTES, null);
    reading.catch(() => undefined); // awaited below, or the file is given up
    return reading;
  };
  let reading = readInto(0);
  try {
    for (let turn = 1; ; turn += 1) {
      signal.throwIfAborted();
      const { buffer, bytesRead } = await reading;
      if (bytesRead === 0) return;
      reading = readInto(turn);
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await reading.catch(() => undefined);
    for (const { buffer } of buffers) buffer.transfer(0);
    await file.close();
  }
}
