/**
 * One release of containerd under test: its real binary, a process of it with directories of its own, and the
 * transaction that the node program would run, reduced to its rule.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { afterEach, beforeAll, expect } from 'vitest';
import { engineBinary, type EngineRelease } from '../../../e2e/cluster/engines.ts';
import type { KataError } from '../../../src/errors.ts';
import { coerceVersion } from '../../../src/node/engine/version.ts';
import {
  type Engine,
  type EngineRecord,
  type EngineRecordStore,
  type HandlerRegistration,
  installSteps,
  type RemoveOptions,
  removeSteps,
  servedHandlers,
} from '../../../src/node/engine/index.ts';
import { execOnHost } from '../../../src/node/host/exec.ts';
import { hostAt } from '../../../src/node/host/host.ts';
import type { Step, StepEffect } from '../../../src/node/transaction/step.ts';
import { type Fixture, fixturesOf } from './engineFixtures.ts';
import { EngineProcess } from './engineProcess.ts';

export const host = hostAt('/');
export const signal = (): AbortSignal => AbortSignal.timeout(60_000);

export const registration = (handler: string): HandlerRegistration => ({
  handler,
  shimPath: '/opt/kata/versions/0123/bin/containerd-shim-kata-v2',
  configPath: `/opt/kata/revisions/r1/${handler}/configuration.toml`,
  podAnnotations: ['io.katacontainers.config.hypervisor.default_vcpus'],
});
export const KATA = [registration('kata-fc'), registration('kata-qemu')];

export class MemoryStore implements EngineRecordStore {
  record: EngineRecord | undefined;
  get = (): Promise<EngineRecord | undefined> => Promise.resolve(this.record);
  set = (record: EngineRecord): Promise<void> => {
    this.record = record;
    return Promise.resolve();
  };
  clear = (): Promise<void> => {
    this.record = undefined;
    return Promise.resolve();
  };
}

/** The rule of a transaction: check, apply, verify in order; when one fails, undo what was begun, last first. */
export async function run(steps: readonly Step[]): Promise<StepEffect[]> {
  const begun: Step[] = [];
  const effects: StepEffect[] = [];
  try {
    for (const step of steps) {
      if (!(await step.check(signal()))) {
        begun.unshift(step);
        effects.push(await step.apply(signal()));
      }
      await step.verify(signal());
    }
    return effects;
  } catch (error) {
    for (const step of begun) await step.undo(signal());
    throw error;
  }
}

export async function failureOf(work: Promise<unknown>): Promise<KataError> {
  return work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: unknown) => error as KataError,
  );
}

export async function sha256(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

async function outputOf(argv: [string, ...string[]]): Promise<string> {
  const { stdout } = await execOnHost(host, argv, { timeoutMs: 30_000, signal: signal() });
  return stdout;
}

/** Everything that the engine makes of its configuration: the settings of others must survive an edit in it. */
export function effective({ binaryPath, configPath }: Engine): Promise<string> {
  return outputOf([binaryPath, '--config', configPath, 'config', 'dump']);
}

/** Fetches the binary before the tests of a group and ends its process after each of them. */
export function useRelease(release: EngineRelease): ReleaseUnderTest {
  const its = new ReleaseUnderTest(release);
  beforeAll(() => its.prepare());
  afterEach(() => its.instance.destroy());
  return its;
}

export class ReleaseUnderTest {
  instance = new EngineProcess('', '');
  /** Newest version of the file that every engine of this release reads. */
  readonly fileVersion: 2 | 3;
  readonly admin: Fixture;
  readonly #release: EngineRelease;
  #binary = '';
  #version = '';

  constructor(release: EngineRelease) {
    this.#release = release;
    this.fileVersion = release.startsWith('2') ? 3 : 2;
    const [admin] = fixturesOf(this.fileVersion);
    if (admin === undefined) throw new Error('there are no fixtures');
    this.admin = admin;
  }

  async prepare(): Promise<void> {
    this.#binary = await engineBinary(this.#release);
    this.#version = coerceVersion(await outputOf([this.#binary, '--version'])) ?? '';
  }

  /** A new place for the engine, which does not run yet. */
  async create(): Promise<void> {
    this.instance = await EngineProcess.create(this.#binary);
  }

  /** A running engine with the administrator's file, or the one given. */
  async running(text = this.admin.text): Promise<MemoryStore> {
    await this.create();
    await this.instance.write(text(this.instance));
    await this.instance.start();
    return new MemoryStore();
  }

  engine(running = true): Engine {
    const { configPath, socket } = this.instance;
    return {
      name: 'containerd',
      version: this.#version,
      configPath,
      socket,
      binaryPath: this.#binary,
      running,
    };
  }

  options(record: EngineRecordStore): RemoveOptions {
    return {
      host,
      engine: this.engine(),
      owner: 'kata',
      restart: 'WhenNeeded',
      record,
      restarter: this.instance,
      backupDirectory: `${this.instance.directory}/backup`,
    };
  }

  /** What a node Pod does when it comes, and what it has changed. */
  install(record: EngineRecordStore, registrations = KATA): Promise<StepEffect[]> {
    return run(installSteps({ ...this.options(record), registrations }));
  }

  remove(record: EngineRecordStore): Promise<StepEffect[]> {
    return run(removeSteps(this.options(record)));
  }

  served(): Promise<string[]> {
    return servedHandlers(host, this.engine(), signal());
  }

  /** Nothing of ours may be there: same bytes, no other file, no restart, same process. */
  async expectUntouched(original: string, pid: number, store: MemoryStore): Promise<void> {
    const { configPath } = this.instance;
    expect(await sha256(configPath)).toBe(original);
    expect(await readdir(dirname(configPath))).toEqual(['config.toml']);
    expect(this.instance.restarts).toBe(0);
    expect(this.instance.pid).toBe(pid);
    expect(store.record).toBeUndefined();
    expect(await this.served()).not.toContain('kata-fc');
  }
}
