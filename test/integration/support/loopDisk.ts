/**
 * A disk of its own below directories of a host, whose power can be cut: what was not flushed to it is lost, as it is
 * on a real one. It is a file with ext4 in it, mounted so that the file system writes nothing before it must.
 *
 * Owns its mounts and takes them away; what is on it when it goes stays in the directories.
 */
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, succeed } from './run.ts';

const SIZE = '24M';
/** No writing by time, and no kindness to programs that rename what they have not flushed. */
const OPTIONS = 'loop,noatime,commit=600,data=writeback,noauto_da_alloc';

export class LoopDisk {
  readonly #directory: string;
  readonly #root: string;
  readonly #parts: readonly string[];
  #image = 0;

  private constructor(directory: string, root: string, parts: readonly string[]) {
    this.#directory = directory;
    this.#root = root;
    this.#parts = parts;
  }

  /** Whether this machine lets us mount one. */
  static async isPossible(): Promise<boolean> {
    const directory = await mkdtemp(join(tmpdir(), 'ko-loop-'));
    try {
      const disk = await LoopDisk.under(directory, []);
      await disk.release();
      return true;
    } catch {
      return false;
    } finally {
      await rm(directory, { recursive: true });
    }
  }

  /** Puts a new disk with the same content below each of the directories `parts` of `root`. */
  static async under(root: string, parts: readonly string[]): Promise<LoopDisk> {
    const disk = new LoopDisk(await mkdtemp(join(tmpdir(), 'ko-disk-')), root, parts);
    await succeed(run('truncate', ['--size', SIZE, disk.#file]));
    await succeed(run('mkfs.ext4', ['-q', '-F', disk.#file]));
    await succeed(run('mount', ['-o', OPTIONS, disk.#file, await disk.#mountPoint()]));
    for (const part of parts) await succeed(run('cp', ['-a', join(root, part), disk.#at]));
    await succeed(run('sync', ['--file-system', disk.#at]));
    await disk.#bind();
    return disk;
  }

  /**
   * Everything that was not flushed is gone; the rest is there again, in the same places. With `afterCommit`, somebody has
   * flushed a file of theirs just before, and with it the names that were given until then: not the bytes behind them.
   */
  async cutPower(afterCommit: boolean): Promise<void> {
    if (afterCommit) {
      await writeFile(join(this.#at, 'theirs'), 'x');
      await succeed(run('sync', [join(this.#at, 'theirs')]));
    }
    const before = this.#file;
    this.#image += 1;
    await cp(before, this.#file);
    await this.#unbind();
    await succeed(run('umount', [this.#at]));
    await rm(before);
    await succeed(run('mount', ['-o', OPTIONS, this.#file, this.#at]));
    await this.#bind();
  }

  async release(): Promise<void> {
    await this.#unbind();
    for (const part of this.#parts) {
      await rm(join(this.#root, part), { recursive: true });
      await succeed(run('cp', ['-a', join(this.#at, part), this.#root]));
    }
    await succeed(run('umount', [this.#at]));
    await rm(this.#directory, { recursive: true });
  }

  get #file(): string {
    return join(this.#directory, `image-${this.#image}`);
  }

  get #at(): string {
    return join(this.#directory, 'mounted');
  }

  async #mountPoint(): Promise<string> {
    await mkdir(this.#at);
    return this.#at;
  }

  async #bind(): Promise<void> {
    for (const part of this.#parts)
      await succeed(run('mount', ['--bind', join(this.#at, part), join(this.#root, part)]));
  }

  async #unbind(): Promise<void> {
    for (const part of this.#parts) await succeed(run('umount', [join(this.#root, part)]));
  }
}
