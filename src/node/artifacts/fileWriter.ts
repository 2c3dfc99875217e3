/**
 * The main thread's end of the thread that writes files: commands in order, contents through shared memory,
 * and the first failure as an error of whatever is waited for next.
 *
 * Owns the thread's life and the memory between the two, which bounds how far one runs ahead of the other.
 */
import { Worker } from 'node:worker_threads';
import { KataError } from '../../errors.ts';
import type { Command, Reply, ThreadData } from './fileThreadProtocol.ts';
import { sharedPages } from './sharedPages.ts';

const SLOT_BYTES = 1024 * 1024;
const SLOTS = 3;
// It holds next to nothing itself.
const THREAD_LIMITS = { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 32 };

type Drained = Extract<Reply, { kind: 'drained' }>;

export class FileWriter {
  readonly #shared = sharedPages(SLOT_BYTES * (SLOTS + 1));
  readonly #worker: Worker;
  readonly #free: number[] = Array.from({ length: SLOTS }, (_, slot) => slot);
  /** Of the slot that is being filled. */
  #slot: number | undefined;
  #filledBytes = 0;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #drained: Drained | undefined;

  constructor(root: string) {
    const data: ThreadData = { root, shared: this.#shared, slotBytes: SLOT_BYTES };
    this.#worker = this.#start(data);
  }

  /** For everything but contents. Throws what the thread failed with before. */
  send(command: Command): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.#worker.postMessage(command);
  }

  /** The next bytes of the file that was opened; they are copied before this returns. */
  async write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    for (let rest = bytes; rest.length > 0;) {
      this.#slot ??= await this.#freeSlot(signal);
      const part = rest.subarray(0, SLOT_BYTES - this.#filledBytes);
      new Uint8Array(this.#shared, this.#slot * SLOT_BYTES).set(part, this.#filledBytes);
      this.#filledBytes += part.length;
      rest = rest.subarray(part.length);
      if (this.#filledBytes === SLOT_BYTES) this.#passOn();
    }
  }

  /** The file that was opened is whole. */
  end(): void {
    this.#passOn();
    this.send({ kind: 'end' });
  }

  /** Waits until everything was done. Returns the files since the last time. */
  async drain(signal: AbortSignal): Promise<Drained> {
    this.#drained = undefined;
    this.send({ kind: 'drain' });
    for (;;) {
      const drained = this.#drained as Drained | undefined;
      if (drained !== undefined) return drained;
      await this.#change(signal);
    }
  }

  /** Nothing is written any more when this returns. */
  async close(): Promise<void> {
    this.#failure ??= new KataError('KATA_E_INTERNAL', { cause: 'the writer is closed' });
    await this.#worker.terminate();
  }

  #start(data: ThreadData): Worker {
    // Beside this file, also where all of the program is one file.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'mjs';
    const file = new URL(`fileThread.${extension}`, import.meta.url);
    // No flags of ours: what suits the program (a debugger, a loader) need not suit this.
    const worker = new Worker(file, {
      workerData: data,
      execArgv: [],
      resourceLimits: THREAD_LIMITS,
    });
    worker.on('message', (reply: Reply) => {
      this.#receive(reply);
    });
    worker.on('error', (error) => {
      this.#fail(error);
    });
    worker.on('exit', () => {
      this.#fail(new KataError('KATA_E_INTERNAL', { cause: 'the thread that writes files ended' }));
    });
    return worker;
  }

  #passOn(): void {
    const slot = this.#slot;
    if (slot === undefined) return;
    this.send({ kind: 'write', slot, length: this.#filledBytes });
    this.#slot = undefined;
    this.#filledBytes = 0;
  }

  async #freeSlot(signal: AbortSignal): Promise<number> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const slot = this.#free.pop();
      if (slot !== undefined) return slot;
      await this.#change(signal);
    }
  }

  /** Resolves with the next word of the thread. */
  async #change(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.#wake = undefined;
        resolve();
      };
      signal.addEventListener('abort', wake, { once: true });
      this.#wake = wake;
    });
    signal.throwIfAborted();
  }

  #receive(reply: Reply): void {
    switch (reply.kind) {
      case 'free':
        this.#free.push(reply.slot);
        break;
      case 'drained':
        this.#drained = reply;
        break;
      case 'failed':
        this.#fail(asError(reply));
    }
    this.#wake?.();
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
    this.#wake?.();
  }
}

/** As if the main thread had failed itself: whoever reports it knows system calls by these fields. */
function asError({ kind: _, message, ...fields }: Extract<Reply, { kind: 'failed' }>): Error {
  return Object.assign(new Error(message), fields);
}
