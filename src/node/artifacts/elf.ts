/**
 * The architecture of a binary, read from its first bytes. Knows ELF headers and nothing else.
 */
import { open } from 'node:fs/promises';

// e_machine of the ELF specification.
const MACHINES: Readonly<Record<number, string>> = {
  3: '386',
  22: 's390x',
  40: 'arm',
  62: 'amd64',
  183: 'arm64',
  243: 'riscv64',
};
const PPC64 = 21;
const HEADER_BYTES = 20;

/** Go's name of the architecture, `script` for a text with an interpreter, undefined for anything else. */
export function binaryKind(head: Uint8Array): string | undefined {
  if (head[0] === 0x23 && head[1] === 0x21) return 'script';
  if (
    head.length < HEADER_BYTES ||
    head[0] !== 0x7f ||
    head[1] !== 0x45 ||
    head[2] !== 0x4c ||
    head[3] !== 0x46
  )
    return undefined;
  const littleEndian = head[5] === 1;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const machine = view.getUint16(18, littleEndian);
  if (machine === PPC64) return littleEndian ? 'ppc64le' : 'ppc64';
  return MACHINES[machine] ?? `machine ${machine}`;
}

export async function binaryKindOfFile(path: string): Promise<string | undefined> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
    return binaryKind(buffer.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}
