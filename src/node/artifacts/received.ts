/**
 * What a download has received so far: in a file, in a hash, and in a note beside the file, so that another process
 * can go on where this one died.
 *
 * It trusts nothing that it finds: the note only says what may be asked of the server, and what was received is
 * hashed anew from the file.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, rename, rm, stat, writeFile, type FileHandle } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { ioError } from '../host/ioError.ts';

const PARTIAL = '.partial';
const NOTE = '.partial.json';

const note = z.object({
  /** Of the URL, which may hold a secret: what another server calls by the same name may be something else. */
  urlSha256: z.string(),
  /** ETag or Last-Modified. */
  validator: z.string(),
  /** Of the whole, if the server said so. */
  totalBytes: z.int().positive().optional(),
});
type Note = z.infer<typeof note>;

export interface ReceivedOptions {
  /** As this process finds it: what it will be called when it is whole. */
  readonly file: string;
  /** For messages. */
  readonly hostFile: string;
  readonly url: string;
  readonly maxBytes: number;
  /** Asked before the first byte is written, when the server says how many there are. Throws KATA_E_DISK_SPACE. */
  readonly requireRoom?: ((bytes: number) => Promise<void>) | undefined;
}

export class TooLarge extends Error {}

export class Received {
  readonly #options: ReceivedOptions;
  readonly #output: FileHandle;
  readonly #urlSha256: string;
  #hash: Hash = createHash('sha256');
  #sizeBytes = 0;
  #note: Note | undefined;
  #writtenBytes = 0;
  #goesOn = false;

  private constructor(options: ReceivedOptions, output: FileHandle) {
    this.#options = options;
    this.#output = output;
    this.#urlSha256 = createHash('sha256').update(options.url).digest('hex');
  }

  /** With what an earlier process has left of the same URL. Throws KATA_E_IO. */
  static async open(options: ReceivedOptions, signal: AbortSignal): Promise<Received> {
    const { file, hostFile } = options;
    const output = await open(file + PARTIAL, 'a+', 0o600).catch((error: unknown) => {
      throw ioError(hostFile, error);
    });
    const received = new Received(options, output);
    try {
      await received.#takeOver(signal);
      return received;
    } catch (error) {
      await output.close();
      signal.throwIfAborted();
      throw ioError(hostFile, error);
    }
  }

  /** What this process has written. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** True when a part of it was asked for by itself: then the parts may not belong together. */
  get isPieced(): boolean {
    return this.#goesOn;
  }

  /** True when nothing is missing, as far as the server said how much there is. */
  get isWhole(): boolean {
    return this.#note?.totalBytes !== undefined && this.#note.totalBytes === this.#sizeBytes;
  }

  rangeHeaders(): Record<string, string> {
    return this.#sizeBytes === 0 || this.#note === undefined
      ? {}
      : { range: `bytes=${this.#sizeBytes}-`, 'if-range': this.#note.validator };
  }

  async begin({ statusCode, headers }: IncomingMessage): Promise<void> {
    const continues =
      statusCode === 206 &&
      headers['content-range']?.startsWith(`bytes ${this.#sizeBytes}-`) === true;
    if (statusCode === 206 && !continues)
      throw new Error('the server sent another part than it was asked for');
    if (!continues) await this.restart();
    this.#goesOn ||= continues;
    const lengthBytes = Number(headers['content-length'] ?? 0);
    if (this.#sizeBytes + lengthBytes > this.#options.maxBytes) throw this.#tooLarge();
    await this.#options.requireRoom?.(lengthBytes);
    await this.#remember(headers, lengthBytes);
  }

  async add(chunk: Uint8Array): Promise<void> {
    if (this.#sizeBytes + chunk.length > this.#options.maxBytes) throw this.#tooLarge();
    // The file is open for appending: where a write goes is not for this process to choose.
    for (let offset = 0; offset < chunk.length;)
      offset += (await this.#disk(this.#output.write(chunk, offset))).bytesWritten;
    this.#hash.update(chunk);
    this.#sizeBytes += chunk.length;
    this.#writtenBytes += chunk.length;
  }

  /** The sha256 of what was received, which is on disk then. */
  async digest(): Promise<string> {
    await this.#disk(this.#output.sync());
    return this.#hash.copy().digest('hex');
  }

  /** Gives the file its name. */
  async complete(): Promise<void> {
    const { file } = this.#options;
    await this.#disk(rename(file + PARTIAL, file));
    await this.#disk(rm(file + NOTE, { force: true }));
  }

  async restart(): Promise<void> {
    await this.#disk(this.#output.truncate(0));
    await this.#disk(rm(this.#options.file + NOTE, { force: true }));
    this.#hash = createHash('sha256');
    this.#sizeBytes = 0;
    this.#note = undefined;
    this.#goesOn = false;
  }

  /** What was received stays for another process, unless there is nothing, or nothing that could be gone on with. */
  async close(keep: boolean): Promise<void> {
    await this.#output.close();
    if (!keep || this.#sizeBytes === 0 || this.#note === undefined)
      await discardReceived(this.#options.file);
  }

  async #takeOver(signal: AbortSignal): Promise<void> {
    const found = await readNote(this.#options.file);
    const { size } = await this.#output.stat();
    if (found?.urlSha256 !== this.#urlSha256 || size === 0) {
      await this.restart();
      return;
    }
    const from = this.#options.file + PARTIAL;
    for await (const chunk of createReadStream(from, { highWaterMark: 1024 * 1024, signal })) {
      this.#hash.update(chunk as Buffer);
      this.#sizeBytes += (chunk as Buffer).length;
    }
    this.#note = found;
    this.#goesOn = true;
  }

  async #remember(headers: IncomingMessage['headers'], lengthBytes: number): Promise<void> {
    const { etag } = headers;
    // A weak one names things that only look alike.
    const validator = etag?.startsWith('"') === true ? etag : headers['last-modified'];
    if (validator === undefined) {
      this.#note = undefined;
      return;
    }
    const total = lengthBytes > 0 ? { totalBytes: this.#sizeBytes + lengthBytes } : {};
    this.#note = { urlSha256: this.#urlSha256, validator, ...total };
    await this.#disk(
      writeFile(this.#options.file + NOTE, JSON.stringify(this.#note), { mode: 0o600 }),
    );
  }

  #tooLarge(): TooLarge {
    return new TooLarge(`it is larger than ${this.#options.maxBytes} bytes`);
  }

  async #disk<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw ioError(this.#options.hostFile, error);
    }
  }
}

/** Undefined when there is none that this program could have written. */
async function readNote(file: string): Promise<Note | undefined> {
  try {
    return note.parse(JSON.parse(await readFile(file + NOTE, 'utf8')));
  } catch {
    return undefined;
  }
}

async function discardReceived(file: string): Promise<void> {
  await rm(file + PARTIAL, { force: true });
  await rm(file + NOTE, { force: true });
}

/** The name of the file that something in the directory of downloads belongs to. */
export function downloadOf(name: string): string {
  return name.replace(/\.partial(\.json)?$/, '');
}

export async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}
