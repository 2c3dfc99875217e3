/**
 * Bytes that look like a guest image to a compressor: half of it noise, half of it text-like.
 * The same name and size give the same bytes on every machine.
 */
import { createCipheriv, createHash } from 'node:crypto';

const BLOCK_SIZE = 64 * 1024;

/** Yields `sizeBytes` bytes in blocks of 64 KiB, by turns incompressible and compressible. */
export function* padding(name: string, sizeBytes: number): Generator<Buffer> {
  const key = createHash('sha256').update(name).digest().subarray(0, 16);
  const noise = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  const zeros = Buffer.alloc(BLOCK_SIZE);
  for (let offset = 0; offset < sizeBytes; offset += BLOCK_SIZE) {
    const isNoise = (offset / BLOCK_SIZE) % 2 === 0;
    const block = isNoise ? noise.update(zeros) : textBlock(offset);
    yield block.subarray(0, Math.min(BLOCK_SIZE, sizeBytes - offset));
  }
}

const LINE = 'stand-in for a page of a guest image, at offset ';

function textBlock(offset: number): Buffer {
  return Buffer.alloc(BLOCK_SIZE, `${LINE}${String(offset)}\n`, 'latin1');
}
