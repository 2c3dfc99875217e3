import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ENGINE_RELEASES, engineBinary } from '../../e2e/cluster/engines.ts';
import { BIN } from '../../e2e/cluster/paths.ts';
import { inFlight } from '../../src/node/engine/cri/inFlight.ts';
import { installSteps } from '../../src/node/engine/index.ts';
import { KATA, run as transact, signal, useRelease } from './support/engineRelease.ts';
import { run } from './support/run.ts';

/** A container record of containerd, as its CRI plugin makes one before it starts a sandbox. */
const SPEC = {
  ociVersion: '1.0.2',
  process: { args: ['/pause'], cwd: '/', user: { uid: 0, gid: 0 } },
  root: { path: 'rootfs' },
};

describe.for(ENGINE_RELEASES)('containerd %s that is about to start a sandbox', (release) => {
  const its = useRelease(release);
  let directory = '';

  beforeAll(async () => {
    await engineBinary('2.4'); // brings ctr along
    directory = await mkdtemp(join(tmpdir(), 'ko-quiet-'));
    await writeFile(join(directory, 'spec.json'), JSON.stringify(SPEC));
  });
  afterAll(() => rm(directory, { recursive: true }));

  async function ctr(...args: string[]): Promise<void> {
    const { code, stderr } = await run(join(BIN, 'ctr'), [
      ...['--address', its.instance.socket, '--namespace', 'k8s.io', 'containers'],
      ...args,
    ]);
    if (code !== 0) throw new Error(stderr);
  }
  const begin = (): Promise<void> =>
    ctr(
      ...['create', '--label', 'io.cri-containerd.kind=sandbox'],
      ...['--config', join(directory, 'spec.json'), 'starting'],
    );
  const busy = (): Promise<string[]> =>
    inFlight(its.instance.socket, true, { deadlineMs: 5_000, signal: signal() });

  test('says so, until it is done', async () => {
    await its.running();
    expect(await busy()).toEqual([]);
    await begin();
    expect(await busy()).toEqual(['starting']);
    await ctr('delete', 'starting');
    expect(await busy()).toEqual([]);
  });

  test('is not restarted before that', async () => {
    const store = await its.running();
    await begin();
    let wasOver = false;
    const over = new Promise((resolve) => setTimeout(resolve, 1_500)).then(() => {
      wasOver = true;
      return ctr('delete', 'starting');
    });
    const restart = its.instance.restart.bind(its.instance);
    let wasOverAtRestart = false;
    its.instance.restart = () => {
      wasOverAtRestart = wasOver;
      return restart();
    };
    await transact(installSteps({ ...its.options(store), registrations: KATA }));
    await over;
    expect(wasOverAtRestart).toBe(true);
    expect(its.instance.restarts).toBe(1);
  });
});
