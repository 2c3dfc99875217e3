/**
 * What on this host refers to our versions and revisions: a live process by its executable, its arguments, its
 * mappings, its open files or its mounts (shim, VMM, virtiofsd), a sandbox by the state that its runtime and its engine
 * keep.
 *
 * Only reads. Where it cannot look it says so: unused is only what everything was looked at for. Paths are compared by
 * their end alone: seen from another mount namespace they may begin elsewhere.
 */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { HOST_PATHS } from '../../crds/names.ts';
import type { Host } from '../host/host.ts';
import { errnoOf } from '../host/ioError.ts';

/** Who refers. A sandbox that the engine knows is cleaned up by it, with the shim that it was started with. */
export type User =
  | { readonly kind: 'process'; readonly pid: number; readonly program: string }
  | { readonly kind: 'sandbox'; readonly id: string; readonly isOfEngine: boolean };

export interface Uses {
  /** By the digest of the version. */
  readonly versions: ReadonlyMap<string, readonly User[]>;
  /** By the name of the revision. */
  readonly revisions: ReadonlyMap<string, readonly User[]>;
  /** What could not be looked at, as paths on the host. */
  readonly unreadable: readonly string[];
}

/**
 * Where sandboxes leave a directory each, with their state in its files: Kata's runtimes (Go and Rust), and containerd,
 * by namespace, also as k3s and rke2 place it. What lies deeper belongs to containers: nobody looks there.
 */
const SANDBOX_STATE = [
  { directory: '/run/vc/sbs', isByNamespace: false, isOfEngine: false },
  { directory: '/run/kata', isByNamespace: false, isOfEngine: false },
  ...['/run/containerd', '/run/k3s/containerd'].map((directory) => ({
    directory: join(directory, 'io.containerd.runtime.v2.task'),
    isByNamespace: true,
    isOfEngine: true,
  })),
];
const MAX_STATE_BYTES = 4 * 1024 * 1024;

const VERSION = /versions\/([0-9a-f]{20})(?![0-9a-f.])/g;
const REVISION = 'revisions/';
// Processes end while they are looked at, kernel threads have no files.
const GONE = new Set(['ENOENT', 'ESRCH', 'ENOTDIR', 'EINVAL']);

/** Executables and sandboxes are looked at first: it ends there when `isEnough` says so of what they use. */
export async function findUses(
  host: Host,
  signal: AbortSignal,
  isEnough: (uses: Uses) => boolean = () => false,
): Promise<Uses> {
  const search = new Search(host, signal);
  await search.executables();
  await search.sandboxes();
  if (!isEnough(search)) await search.processes();
  return search;
}

/** For people: `containerd-shim-kata-v2 (pid 4711)`, `sandbox 0123 (its shim is gone)`. */
export function describeUsers(users: readonly User[]): string[] {
  const processes = users.flatMap((user) =>
    user.kind === 'process' ? [`${user.program} (pid ${user.pid})`] : [],
  );
  if (processes.length > 0) return processes;
  return users.flatMap((user) =>
    user.kind === 'sandbox' ? [`sandbox ${user.id} (its shim is gone)`] : [],
  );
}

class Search implements Uses {
  readonly versions = new Map<string, User[]>();
  readonly revisions = new Map<string, User[]>();
  readonly unreadable: string[] = [];
  readonly #host: Host;
  readonly #signal: AbortSignal;
  readonly #revisionNames: readonly string[];
  /** Processes that were there, with the names of their programs. */
  readonly #programs = new Map<number, string>();

  constructor(host: Host, signal: AbortSignal) {
    this.#host = host;
    this.#signal = signal;
    this.#revisionNames = this.#names(HOST_PATHS.revisions);
  }

  async executables(): Promise<void> {
    const pids = this.#names('/proc').filter((name) => /^[0-9]+$/.test(name));
    // Not even this one: then /proc is not what it should be.
    if (pids.length === 0) this.unreadable.push('/proc');
    for (const pid of pids.map(Number)) {
      const exe = this.#link(`/proc/${pid}/exe`);
      const program = basename(exe.replace(/ \(deleted\)$/, '')) || 'process';
      this.#programs.set(pid, program);
      this.#note(exe, { kind: 'process', pid, program });
    }
    await this.#pause();
  }

  async sandboxes(): Promise<void> {
    for (const { directory, isByNamespace, isOfEngine } of SANDBOX_STATE) {
      const parents = isByNamespace
        ? this.#names(directory).map((name) => join(directory, name))
        : [directory];
      for (const parent of parents)
        for (const id of this.#names(parent)) {
          await this.#pause();
          for (const path of await this.#files(join(parent, id)))
            this.#note(await this.#head(path), { kind: 'sandbox', id, isOfEngine });
        }
    }
  }

  /**
   * Everything else that a process has. Synchronous, one process at a time: it is asked of thousands of descriptors,
   * and the kernel knows the answer.
   */
  async processes(): Promise<void> {
    const namespaces = new Set<string>();
    for (const [pid, program] of this.#programs) {
      await this.#pause();
      const directory = `/proc/${pid}`;
      const user = { kind: 'process', pid, program } as const;
      for (const file of ['cmdline', 'maps']) this.#note(this.#text(join(directory, file)), user);
      const descriptors = join(directory, 'fd');
      for (const name of this.#names(descriptors))
        this.#note(this.#link(join(descriptors, name)), user);
      const namespace = this.#link(join(directory, 'ns/mnt')) || directory;
      if (namespaces.has(namespace)) continue;
      namespaces.add(namespace);
      this.#note(this.#text(join(directory, 'mountinfo')), user);
    }
  }

  /** Lets go of the thread, and ends when it is told to. */
  async #pause(): Promise<void> {
    await nextTurn();
    this.#signal.throwIfAborted();
  }

  #text(path: string): string {
    return this.#tried(path, (at) => readFileSync(at, 'latin1')) ?? '';
  }

  #link(path: string): string {
    return this.#tried(path, (at) => readlinkSync(at)) ?? '';
  }

  #names(directory: string): string[] {
    return this.#tried(directory, (at) => readdirSync(at)) ?? [];
  }

  async #files(directory: string): Promise<string[]> {
    try {
      const entries = await readdir(this.#host.at(directory), { withFileTypes: true });
      return entries.filter((entry) => entry.isFile()).map(({ name }) => join(directory, name));
    } catch (error) {
      this.#failed(directory, error);
      return [];
    }
  }

  async #head(path: string): Promise<string> {
    try {
      const file = await open(this.#host.at(path), 'r');
      try {
        const { size } = await file.stat();
        const length = Math.min(size, MAX_STATE_BYTES);
        const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
        return buffer.toString('latin1', 0, bytesRead);
      } finally {
        await file.close();
      }
    } catch (error) {
      this.#failed(path, error);
      return '';
    }
  }

  #tried<T>(path: string, look: (at: string) => T): T | undefined {
    try {
      return look(this.#host.at(path));
    } catch (error) {
      this.#failed(path, error);
      return undefined;
    }
  }

  #failed(path: string, error: unknown): void {
    if (!GONE.has(errnoOf(error) ?? '')) this.unreadable.push(path);
  }

  #note(text: string, user: User): void {
    for (const digest of versionsIn(text)) add(this.versions, digest, user);
    if (!text.includes(REVISION)) return;
    for (const name of this.#revisionNames)
      if (text.includes(`${REVISION}${name}/`)) add(this.revisions, name, user);
  }
}

/** Digests of the versions that a text names. */
export function versionsIn(text: string): ReadonlySet<string> {
  const found = [...text.matchAll(VERSION)].flatMap(([, digest]) => digest ?? []);
  return new Set(found);
}

function add(uses: Map<string, User[]>, name: string, user: User): void {
  const known = uses.get(name) ?? [];
  uses.set(name, known);
  const isKnown = known.some((other) =>
    user.kind === 'process'
      ? other.kind === 'process' && other.pid === user.pid
      : other.kind === 'sandbox' && other.id === user.id,
  );
  if (!isKnown) known.push(user);
}
