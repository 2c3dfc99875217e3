import { mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { NodeResult } from '../../../../src/crds/nodeResult.ts';
import type { Host } from '../../../../src/node/host/host.ts';
import { activate } from '../../../../src/node/stages/activate.ts';
import type { StageContext } from '../../../../src/node/stages/context.ts';
import { previousPlan, rollback } from '../../../../src/node/stages/rollback.ts';
import { stage } from '../../../../src/node/stages/stage.ts';
import { readHostStatus } from '../../../../src/node/stages/status.ts';
import { kataTree } from '../fixtures/archives.ts';
import {
  FileEngine,
  bundle,
  contextOf,
  planOf,
  snapshot,
  temporaryHost,
} from '../fixtures/host.ts';

const VERSIONS = '/opt/kata/versions';
const REVISIONS = '/opt/kata/revisions';
const { signal } = new AbortController();

/** A host with processes, on which one revision after the other is applied, each with a Kata of its own. */
class Machine {
  readonly engine = new FileEngine();
  readonly host: Host;
  readonly seen: string[] = [];
  #attempts = 0;

  private constructor(host: Host) {
    this.host = host;
  }

  static async create(): Promise<Machine> {
    const host = await temporaryHost();
    await mkdir(host.at('/proc/1'), { recursive: true });
    return new Machine(host);
  }

  /** `r2` brings Kata 4.2.0. */
  async context(revision: string): Promise<StageContext> {
    this.#attempts += 1;
    this.seen.length = 0;
    return contextOf(this.host, {
      engine: this.engine.port,
      plan: planOf({ revision }),
      attempt: `attempt-${this.#attempts}`,
      bundleDirectory: await bundle(kataTree('amd64', `4.${revision.slice(1)}.0`)),
      observe: (step, event, _ms, error) =>
        this.seen.push(`${step} ${event}${error === undefined ? '' : `: ${error.message}`}`),
    });
  }

  async apply(revision: string): Promise<NodeResult> {
    const context = await this.context(revision);
    expect(await stage(context)).toMatchObject({ outcome: 'done' });
    return (await activate(context)).result;
  }

  async rollback(): Promise<NodeResult> {
    const context = await this.context('r0');
    return rollback({ ...context, plan: await previousPlan(this.host) });
  }

  /** Kata's versions and the revisions on disk. */
  async left(): Promise<{ versions: string[]; revisions: string[] }> {
    const names = await readdir(this.host.at(VERSIONS));
    const versions = names.map(async (name) =>
      name.endsWith('.partial')
        ? name
        : (await readFile(this.host.at(join(VERSIONS, name, 'VERSION')), 'utf8')).trim(),
    );
    return {
      versions: (await Promise.all(versions)).sort(),
      revisions: (await readdir(this.host.at(REVISIONS))).sort(),
    };
  }

  async shimOf(result: NodeResult, pid: number): Promise<{ end(): Promise<void> }> {
    const directory = this.host.at(`/proc/${pid}`);
    const digest = result.facts.artifacts?.digest ?? '';
    await mkdir(directory, { recursive: true });
    await symlink(join(VERSIONS, digest, 'bin/containerd-shim-kata-v2'), join(directory, 'exe'));
    return { end: () => rm(directory, { recursive: true }) };
  }
}

const collection = ({ steps }: NodeResult) => steps.find(({ name }) => name === 'OldVersions');

describe('after a good activation', () => {
  it('the active version and the one before it are left, with their configuration', async () => {
    const machine = await Machine.create();
    for (const revision of ['r1', 'r2'])
      expect(collection(await machine.apply(revision))).toMatchObject({ changed: false });
    const third = await machine.apply('r3');
    expect(third).toMatchObject({ outcome: 'done' });
    expect(collection(third)).toMatchObject({ changed: true });
    expect(await machine.left()).toEqual({
      versions: ['4.2.0', '4.3.0'],
      revisions: ['r2', 'r3'],
    });
    expect(await machine.rollback()).toMatchObject({ outcome: 'done', revision: 'r2' });
    expect(await machine.left()).toEqual({
      versions: ['4.2.0', '4.3.0'],
      revisions: ['r2', 'r3'],
    });
  });

  it('a version that something runs from stays until that has ended, and goes with the next run', async () => {
    const machine = await Machine.create();
    const shim = await machine.shimOf(await machine.apply('r1'), 4711);
    await machine.apply('r2');
    await machine.apply('r3');
    expect(await machine.left()).toEqual({
      versions: ['4.1.0', '4.2.0', '4.3.0'],
      revisions: ['r1', 'r2', 'r3'],
    });
    const { versions } = await readHostStatus(machine.host, machine.engine.port, undefined, signal);
    expect(Object.fromEntries(versions.map(({ version, keptFor }) => [version, keptFor]))).toEqual({
      '4.1.0': ['used by containerd-shim-kata-v2 (pid 4711)'],
      '4.2.0': ['previous', 'overtaken'],
      '4.3.0': ['active', 'staged'],
    });
    await shim.end();
    expect(collection(await machine.apply('r3'))).toMatchObject({ changed: true });
    expect(await machine.left()).toEqual({
      versions: ['4.2.0', '4.3.0'],
      revisions: ['r2', 'r3'],
    });
  });

  it('what cannot be removed does not make it a bad one, and is tried again', async () => {
    const machine = await Machine.create();
    await machine.apply('r1');
    await machine.apply('r2');
    // Nobody can tell what this process has.
    await mkdir(machine.host.at('/proc/7/maps'), { recursive: true });
    const third = await machine.apply('r3');
    expect(third).toMatchObject({ outcome: 'done', handlers: ['kata-fc', 'kata-qemu'] });
    expect(third.error).toBeUndefined();
    expect(machine.seen.at(-1)).toMatch(
      /^OldVersions failed: \/proc\/7\/maps: .*all of them stay$/,
    );
    expect((await machine.left()).versions).toEqual(['4.1.0', '4.2.0', '4.3.0']);
    await rm(machine.host.at('/proc/7'), { recursive: true });
    await machine.apply('r3');
    expect((await machine.left()).versions).toEqual(['4.2.0', '4.3.0']);
  });

  it('a collection that breaks ends without a trace in the result', async () => {
    const machine = await Machine.create();
    await machine.apply('r1');
    await machine.apply('r2');
    const context = await machine.context('r3');
    await stage(context);
    const broken: Host = {
      ...machine.host,
      at: (path) => {
        if (path === '/proc') throw new Error('no /proc today');
        return machine.host.at(path);
      },
    };
    const { result } = await activate({ ...context, host: broken });
    expect(result).toMatchObject({ outcome: 'done' });
    expect(machine.seen.at(-1)).toContain('OldVersions failed');
    expect(collection(await machine.apply('r3'))).toMatchObject({ changed: true });
  });

  it('nothing is asked of processes when there is nothing to collect', async () => {
    const machine = await Machine.create();
    await machine.apply('r1');
    const context = await machine.context('r1');
    const blind: Host = {
      ...machine.host,
      at: (path) => {
        if (path.startsWith('/proc')) throw new Error(`looked at ${path}`);
        return machine.host.at(path);
      },
    };
    expect((await activate({ ...context, host: blind })).result).toMatchObject({ outcome: 'done' });
    expect(machine.seen.at(-1)).toBe('OldVersions unchanged');
  });
});

describe('an activation that did not end well', () => {
  it('collects nothing', async () => {
    const machine = await Machine.create();
    await machine.apply('r1');
    await machine.apply('r2');
    machine.engine.failAt = 'EngineConfiguration';
    const third = await machine.apply('r3');
    expect(third).toMatchObject({ outcome: 'refused' });
    expect(collection(third)).toBeUndefined();
    expect((await machine.left()).versions).toEqual(['4.1.0', '4.2.0', '4.3.0']);
  });
});

describe('a collection that was killed', () => {
  it('is ended by the next run, which finds the rest under names that nothing refers to', async () => {
    const machine = await Machine.create();
    for (const revision of ['r1', 'r2', 'r3']) await machine.apply(revision);
    const before = await snapshot(machine.host.at(VERSIONS));
    const half = machine.host.at(join(VERSIONS, '0123456789abcdef0123.partial/bin'));
    await mkdir(half, { recursive: true });
    await writeFile(join(half, 'qemu-system-x86_64'), 'half');
    const revision = machine.host.at(join(REVISIONS, 'r1.partial/kata-fc'));
    await mkdir(revision, { recursive: true });
    const { leftovers } = await readHostStatus(
      machine.host,
      machine.engine.port,
      undefined,
      signal,
    );
    expect(leftovers).toEqual([
      `${VERSIONS}/0123456789abcdef0123.partial`,
      `${REVISIONS}/r1.partial`,
    ]);
    await machine.apply('r3');
    expect(await snapshot(machine.host.at(VERSIONS))).toEqual(before);
    expect((await machine.left()).revisions).toEqual(['r2', 'r3']);
  });
});
