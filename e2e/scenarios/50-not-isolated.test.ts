/** A runtime that is no sandbox must not pass for one: here runc's own shim under the name of Kata's. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { judgeIsolation } from '../../src/kata/isolation.ts';
import { hostKernel } from '../operator/host.ts';
import { onePod } from '../operator/pods.ts';
import { packArchives } from '../standin/pack.ts';
import { serveFiles, type FileServer } from './support/fileServer.ts';
import { INSTALL_TIMEOUT_MS, kataDeployment, rig, type Rig } from './support/operator.ts';

describe('a shim that is no sandbox', () => {
  let it_: Rig;
  let files: FileServer;

  beforeAll(async () => {
    it_ = await rig();
    await it_.operator.remove('kata');
    files = await serveFiles(it_.cluster);
  });

  afterAll(async () => {
    await it_.operator.deletePod('default', 'not-isolated');
    await it_.operator.remove('kata');
    await files.close();
  });

  it('is installed from two URLs that overlay each other, and is not called isolated', async () => {
    const { cluster, operator } = it_;
    const dir = join(files.directory, 'not-isolated');
    const index = await packArchives({ kind: 'notIsolated', dir });
    const sources = await Promise.all(
      index.archives.map(async ({ file }) => {
        const content = await readFile(join(dir, file));
        return {
          url: files.add(file, content),
          sha256: createHash('sha256').update(content).digest('hex'),
        };
      }),
    );
    await operator.apply(kataDeployment({ artifacts: { sources }, runtimes: [{ name: 'fc' }] }));
    await operator.waitAvailable('kata', INSTALL_TIMEOUT_MS);
    const pod = onePod({ name: 'not-isolated', runtimeClass: 'kata-fc', command: ['uname', '-r'] });
    const kernel = await operator.podOutput('default', pod);
    const verdict = judgeIsolation(await hostKernel(cluster, 'node-a'), kernel);
    expect(verdict.isolated).toBe(false);
    expect(verdict.explanation).toContain('not isolation');
  });
});
