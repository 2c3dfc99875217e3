/**
 * Which versions something on this host refers to: a live process by its executable, its mappings, its open
 * files or its arguments (shim, VMM, virtiofsd), a sandbox by the state that its runtime keeps, a revision
 * by its configuration.
 *
 * Only reads. Where it cannot look it says so: a version is unused only when everything was looked at.
 */
import { lstat, open, readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import type { Host } from '../host/host.ts';
import { errnoOf } from '../host/ioError.ts';

export interface VersionUse {
  /** Digests of versions. */
  readonly used: ReadonlySet<string>;
  /** What could not be looked at, as paths on the host. */
  readonly unreadable: readonly string[];
}

/** Of Kata's runtimes (Go and Rust), and of containerd, which keeps the path of a shim, also as k3s and rke2 place it. */
const SANDBOX_STATE = [
  '/run/vc/sbs',
  '/run/kata',
  '/run/containerd/io.containerd.runtime.v2.task',
  '/run/k3s/containerd/io.containerd.runtime.v2.task',
] as const;
const LINKS = [join(HOST_PATHS.installation, 'current')];

// By digest alone: seen from another mount namespace a path may begin elsewhere.
const REFERENCE = /versions\/([0-9a-f]{20})(?![0-9a-f.])/g;
const MAX_STATE_BYTES = 4 * 1024 * 1024;
const MAX_STATE_DEPTH = 4;
// Processes end while they are looked at, kernel threads have no files.
const GONE = new Set(['ENOENT', 'ESRCH', 'ENOTDIR', 'EINVAL']);

export async function versionUse(host: Host, signal: AbortSignal): Promise<VersionUse> {
  const search = new Search(host, signal);
  await search.processes();
  for (const directory of [...SANDBOX_STATE, HOST_PATHS.revisions])
    await search.tree(directory, MAX_STATE_DEPTH);
  for (const link of LINKS) await search.link(link);
  return search;
}

class Search implements VersionUse {
  readonly used = new Set<string>();
  readonly unreadable: string[] = [];
  readonly #host: Host;
  readonly #signal: AbortSignal;

  constructor(host: Host, signal: AbortSignal) {
    this.#host = host;
    this.#signal = signal;
  }

  async processes(): Promise<void> {
    const pids = (await this.#names('/proc')).filter((name) => /^[0-9]+$/.test(name));
    // Not even this one: then /proc is not what it should be.
    if (pids.length === 0) this.unreadable.push('/proc');
    for (const pid of pids) {
      this.#signal.throwIfAborted();
      const directory = `/proc/${pid}`;
      await this.link(join(directory, 'exe'));
      await this.#text(join(directory, 'cmdline'));
      await this.#text(join(directory, 'maps'));
      const descriptors = await this.#names(join(directory, 'fd'));
      for (const descriptor of descriptors) await this.link(join(directory, 'fd', descriptor));
    }
  }

  /** Files and links below a directory; never through a link. */
  async tree(directory: string, depth: number): Promise<void> {
    for (const name of await this.#names(directory)) {
      this.#signal.throwIfAborted();
      const path = join(directory, name);
      const stats = await this.#tried(path, (at) => lstat(at));
      if (stats?.isSymbolicLink()) await this.link(path);
      else if (stats?.isDirectory() && depth > 1) await this.tree(path, depth - 1);
      else if (stats?.isFile()) await this.#head(path);
    }
  }

  async link(path: string): Promise<void> {
    this.#note((await this.#tried(path, (at) => readlink(at))) ?? '');
  }

  async #text(path: string): Promise<void> {
    this.#note((await this.#tried(path, (at) => readFile(at, 'latin1'))) ?? '');
  }

  async #head(path: string): Promise<void> {
    const text = await this.#tried(path, async (at) => {
      const file = await open(at, 'r');
      try {
        const { size } = await file.stat();
        const length = Math.min(size, MAX_STATE_BYTES);
        const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
        return buffer.toString('latin1', 0, bytesRead);
      } finally {
        await file.close();
      }
    });
    this.#note(text ?? '');
  }

  async #names(directory: string): Promise<string[]> {
    return (await this.#tried(directory, (at) => readdir(at))) ?? [];
  }

  async #tried<T>(path: string, look: (at: string) => Promise<T>): Promise<T | undefined> {
    try {
      return await look(this.#host.at(path));
    } catch (error) {
      if (!GONE.has(errnoOf(error) ?? '')) this.unreadable.push(path);
      return undefined;
    }
  }

  #note(text: string): void {
    for (const [, digest] of text.matchAll(REFERENCE))
      if (digest !== undefined) this.used.add(digest);
  }
}
