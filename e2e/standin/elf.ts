/**
 * Executables that do nothing but say that they stand in for something else.
 * Owns the few bytes of ELF that this takes: made here, they are the same on every machine, so the
 * digests of the archives are too.
 */

export type Machine = 'x86_64' | 'aarch64';

/** e_machine, ELF's number of an architecture. */
const MACHINE_NUMBER: Readonly<Record<Machine, number>> = { x86_64: 62, aarch64: 183 };
const MACHINE_OFFSET = 18;

const MESSAGE = Buffer.from('stand-in\n');

/** write(1, MESSAGE, 9); exit(0). MESSAGE follows at once. */
const CODE: Readonly<Record<Machine, Buffer>> = {
  x86_64: Buffer.from(
    // mov eax,1  mov edi,1  lea rsi,[rip+16]  mov edx,9  syscall  mov eax,60  xor edi,edi  syscall
    'b801000000bf01000000488d3510000000ba090000000f05b83c00000031ff0f05',
    'hex',
  ),
  aarch64: Buffer.from(
    // mov x8,64  mov x0,1  adr x1,#24  mov x2,9  svc 0  mov x8,93  mov x0,0  svc 0
    '080880d2200080d2c1000010220180d2010000d4a80b80d2000080d2010000d4',
    'hex',
  ),
};

const FILE_HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
const LOAD_ADDRESS = 0x400000n;

/** A whole static executable of some 170 bytes. It may be followed by anything. */
export function stubExecutable(machine: Machine): Buffer {
  const start = FILE_HEADER_SIZE + PROGRAM_HEADER_SIZE;
  const body = Buffer.concat([CODE[machine], MESSAGE]);
  const file = Buffer.alloc(start);
  file.write('\x7fELF', 'latin1');
  file.set([2, 1, 1], 4); // 64 bits, little-endian, version 1
  file.writeUInt16LE(2, 16); // ET_EXEC
  file.writeUInt16LE(MACHINE_NUMBER[machine], MACHINE_OFFSET);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(LOAD_ADDRESS + BigInt(start), 24); // e_entry
  file.writeBigUInt64LE(BigInt(FILE_HEADER_SIZE), 32); // e_phoff
  file.writeUInt16LE(FILE_HEADER_SIZE, 52);
  file.writeUInt16LE(PROGRAM_HEADER_SIZE, 54);
  file.writeUInt16LE(1, 56); // e_phnum
  const program = FILE_HEADER_SIZE;
  file.writeUInt32LE(1, program); // PT_LOAD
  file.writeUInt32LE(5, program + 4); // readable, executable
  file.writeBigUInt64LE(LOAD_ADDRESS, program + 16);
  file.writeBigUInt64LE(LOAD_ADDRESS, program + 24);
  file.writeBigUInt64LE(BigInt(start + body.length), program + 32);
  file.writeBigUInt64LE(BigInt(start + body.length), program + 40);
  file.writeBigUInt64LE(0x1000n, program + 48);
  return Buffer.concat([file, body]);
}

/** The same executable, said to be for another machine: what a mixed-up download looks like. */
export function claimMachine(executable: Buffer, machine: Machine): Buffer {
  const copy = Buffer.from(executable);
  copy.writeUInt16LE(MACHINE_NUMBER[machine], MACHINE_OFFSET);
  return copy;
}
