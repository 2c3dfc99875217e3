/** What Docker's own daemon makes of edited files. It reads its file, and ends because it is not root. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KataError } from '../../src/errors.ts';
import { withRuntimes } from '../../src/node/json/daemonJson.ts';
import { jsonDocument } from '../fuzz/jsonDocument.ts';

const NOBODY = 65_534;
const RUNTIMES = {
  'kata-fc': { runtimeType: 'io.containerd.kata.v2', options: { ConfigPath: '/opt/kata/c.toml' } },
  kata: { path: '/opt/kata/bin/kata-runtime', runtimeArgs: ['--debug'] },
};

const dockerd = ['/usr/bin/dockerd', '/usr/sbin/dockerd'].find((path) => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
});
const cannot =
  dockerd === undefined
    ? 'dockerd is not on this machine'
    : process.getuid?.() !== 0
      ? 'needs root, to start dockerd as nobody'
      : undefined;
if (cannot !== undefined) console.log(`skipped: ${cannot}`);

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ko-docker-'));
  await chmod(directory, 0o755);
});
afterAll(() => rm(directory, { recursive: true }));

/** What it complains about; undefined when it takes the file and only wants to be root. */
async function complaint(content: string): Promise<string | undefined> {
  const file = join(directory, 'daemon.json');
  await writeFile(file, content, { mode: 0o644 });
  const nowhere = join(directory, 'nowhere');
  const child = spawn(
    dockerd ?? '',
    ['--config-file', file, '--pidfile', nowhere, '--exec-root', nowhere],
    { uid: NOBODY, gid: NOBODY, stdio: ['ignore', 'ignore', 'pipe'], timeout: 20_000, env: {} },
  );
  const [said] = await Promise.all([text(child.stderr), once(child, 'close')]);
  return said.includes('needs to be started with root') ? undefined : said.trim();
}

test.skipIf(cannot !== undefined)(
  'dockerd takes the edited file wherever it took the file',
  async () => {
    // The same in every run; other seeds are the work of `npm run bench -- fuzz`.
    const seed = 20_261_121;
    const typical = [
      '{}',
      '{"mtu": 1450}',
      '{\r\n\t"debug": true\r\n}',
      '{"runtimes": {"crun": {"path": "/c"}}}',
    ];
    let taken = 0;
    for (const before of [...typical, ...fc.sample(jsonDocument, { numRuns: 60, seed })]) {
      let after: string;
      try {
        after = withRuntimes(before, RUNTIMES, [], '/etc/docker/daemon.json');
      } catch (error) {
        expect(error).toBeInstanceOf(KataError);
        continue;
      }
      if ((await complaint(before)) !== undefined) continue;
      expect(await complaint(after), `seed ${seed}: ${after}`).toBeUndefined();
      taken += 1;
    }
    expect(taken).toBeGreaterThanOrEqual(typical.length);
  },
);

test.skipIf(cannot !== undefined)(
  'dockerd takes the file that we make where there was none',
  async () => {
    expect(await complaint(withRuntimes('', RUNTIMES, [], 'daemon.json'))).toBeUndefined();
  },
);

test.skipIf(cannot !== undefined).for([
  { name: 'a comment', content: '{ // why\n}' },
  { name: 'a comma too many', content: '{"debug": true,}' },
  { name: 'the reserved name', content: '{"runtimes": {"runc": {"path": "/x"}}}' },
])('dockerd refuses what we refuse: $name', async ({ content }) => {
  expect(await complaint(content)).toMatch(/unable to configure the Docker daemon/);
});
