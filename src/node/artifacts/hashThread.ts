/**
 * The thread that computes the digests of a version's files, in the order in which their contents pass by.
 * It reads shared memory and nothing else.
 */
import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import type { HashCommand, HashReply, ThreadData } from './fileThreadProtocol.ts';

const { shared, slotBytes } = workerData as ThreadData;

let hash = createHash('sha256');
let digests = new Map<number, string>();

function reply(message: HashReply): void {
  parentPort?.postMessage(message);
}

parentPort?.on('message', (command: HashCommand) => {
  switch (command.kind) {
    case 'write':
      hash.update(new Uint8Array(shared, command.slot * slotBytes, command.length));
      reply({ kind: 'free', slot: command.slot });
      return;
    case 'end':
      digests.set(command.id, hash.digest('hex'));
      hash = createHash('sha256');
      return;
    case 'drain':
      reply({ kind: 'hashed', digests });
      digests = new Map();
  }
});
