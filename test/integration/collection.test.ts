/**
 * The real program on a host in a directory, with a real containerd as the judge of its configuration: what is left of
 * earlier revisions after the third one, and after a kill at every call that collects them.
 */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CrashHost, type Ran } from '../../bench/crash/host.ts';
import { BLOCK } from '../../bench/crash/machines.ts';
import type { DiskCall } from '../../bench/crash/shim.ts';
import { prepareTools } from '../../bench/crash/tools.ts';
import { verifyVersion } from '../../src/node/artifacts/verifyVersion.ts';
import { hostAt } from '../../src/node/host/host.ts';
import { hostStatus, type HostStatus } from '../../src/node/stages/status.ts';

const KATA: Readonly<Record<string, string>> = { r1: '4.0.0', r2: '4.1.0', r3: '4.2.0' };
const SANDBOX_PID = 5001;
/** Every call would take minutes on two busy processors. */
const EVERY_NTH_CALL = 8;
const INTERRUPTIONS_TIMEOUT_MS = 120_000;

let tools: Awaited<ReturnType<typeof prepareTools>>;
let host: CrashHost;

beforeAll(async () => {
  tools = await prepareTools();
  host = await CrashHost.create(tools, BLOCK);
  for (const revision of ['r1', 'r2'] as const) requireDone(await apply(revision));
  await host.keep('two');
});
afterAll(async () => {
  await host.dispose();
  await tools.dispose();
});

const apply = (revision: 'r1' | 'r2' | 'r3'): Promise<Ran> => host.kataNode(['apply'], revision);

function requireDone({ result, stderr }: Ran): void {
  expect({ outcome: result?.outcome, stderr }).toMatchObject({ outcome: 'done' });
}

/** Kata's versions and the revisions by name, whatever else lies there by the name it has. */
async function left(): Promise<{ versions: string[]; revisions: string[] }> {
  const versions = join(host.root, 'opt/kata/versions');
  const named = (await readdir(versions)).map(async (name) =>
    name.endsWith('.partial')
      ? '.partial'
      : (await readFile(join(versions, name, 'VERSION'), 'utf8')).trim(),
  );
  const revisions = await readdir(join(host.root, 'opt/kata/revisions'));
  return { versions: (await Promise.all(named)).sort(), revisions: revisions.sort() };
}

const leftOf = (...revisions: string[]) => ({
  versions: revisions.map((revision) => KATA[revision]),
  revisions,
});

async function status(): Promise<HostStatus> {
  const { stdout } = await host.kataNode(['status'], 'r3');
  return hostStatus.parse(JSON.parse(stdout));
}

describe('three revisions in a row', () => {
  test('leave two of them: the active one, and the one that a rollback leads to', async () => {
    await host.bringBack('two');
    const third = await apply('r3');
    expect(third.result?.steps.at(-1)).toMatchObject({ name: 'OldVersions', changed: true });
    expect(third.result?.engineRestarts).toBe(1);
    expect(await left()).toEqual(leftOf('r2', 'r3'));
    const { versions } = await status();
    expect(versions.map(({ keptFor }) => keptFor).sort()).toEqual([
      ['active', 'staged'],
      ['previous', 'overtaken'],
    ]);
    expect((await host.kataNode(['rollback'], 'r3')).result).toMatchObject({
      outcome: 'done',
      revision: 'r2',
    });
    const again = await apply('r2');
    expect(again.result?.steps.filter(({ changed }) => changed)).toEqual([]);
    expect(await left()).toEqual(leftOf('r2', 'r3'));
  });

  test('leave the one that a sandbox runs from until it has ended', async () => {
    await host.bringBack('two');
    const first = (await readdir(join(host.root, 'opt/kata/versions'))).map(async (name) => {
      const path = `/opt/kata/versions/${name}/VERSION`;
      return { name, kata: (await readFile(join(host.root, path), 'utf8')).trim() };
    });
    const digest = (await Promise.all(first)).find(({ kata }) => kata === KATA['r1'])?.name ?? '';
    const shim = `/opt/kata/versions/${digest}/bin/containerd-shim-kata-v2`;
    const end = await host.pretendProcess(SANDBOX_PID, shim);
    requireDone(await apply('r3'));
    expect(await left()).toEqual(leftOf('r1', 'r2', 'r3'));
    expect((await status()).versions.find((one) => one.digest === digest)?.keptFor).toEqual([
      `used by containerd-shim-kata-v2 (pid ${SANDBOX_PID})`,
    ]);
    await end();
    requireDone(await apply('r3'));
    expect(await left()).toEqual(leftOf('r2', 'r3'));
  });
});

describe('a collection that is interrupted', () => {
  const isCollecting = ({ path }: DiskCall): boolean =>
    /^\/opt\/kata\/(versions|revisions)\/[^/]+\.partial(\/|$)/.test(path);

  test.for(['kill', 'once:EIO'] as const)(
    'by %s leaves whole versions alone to be seen, and is ended by the next run',
    { timeout: INTERRUPTIONS_TIMEOUT_MS },
    async (fault) => {
      await host.bringBack('two');
      const { calls, result } = await apply('r3');
      expect(result?.outcome).toBe('done');
      const activated = calls.findLastIndex(({ path }) =>
        path.endsWith('/opt/kata/state/state.json'),
      );
      const collecting = calls.slice(activated + 1).filter(isCollecting);
      expect(collecting.length).toBeGreaterThan(20);
      for (const { number, name, path } of collecting.filter((_, i) => i % EVERY_NTH_CALL === 0)) {
        const where = `${fault} at ${name} ${path}`;
        await host.bringBack('two');
        const ran = await host.kataNode(['apply'], 'r3', { at: number, fault });
        expect({ where, killed: ran.killed }).toEqual({ where, killed: fault === 'kill' });
        // What fails then is no failure of the activation.
        if (fault !== 'kill')
          expect({ where, outcome: ran.result?.outcome }).toEqual({ where, outcome: 'done' });
        expect({ where, differing: await differing() }).toEqual({ where, differing: [] });
        expect(Object.keys(host.engine.loaded ?? {})).toContain('kata-qemu');
        requireDone(await apply('r3'));
        expect({ where, ...(await left()) }).toEqual({ where, ...leftOf('r2', 'r3') });
      }
    },
  );

  /** Of the versions that can be seen. */
  async function differing(): Promise<string[]> {
    const names = await readdir(join(host.root, 'opt/kata/versions'));
    const found: string[] = [];
    for (const digest of names.filter((name) => !name.endsWith('.partial'))) {
      const { signal } = new AbortController();
      const differences = await verifyVersion(hostAt(host.root), digest, signal);
      found.push(...differences.map(({ path, what }) => `${digest}/${path}: ${what}`));
    }
    return found;
  }
});
