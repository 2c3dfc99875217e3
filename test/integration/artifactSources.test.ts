/**
 * kata-node as a process that fetches its artifacts from a server with a private authority and a password: killed,
 * refused, redirected; and from a bundle, with no network at all. What it wrote and said is searched for the secret.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bundle as bundleProgram } from '../../build/bundle.ts';
import { compileHelper } from '../../build/helper.ts';
import { Pki } from '../../e2e/cluster/pki.ts';
import type { PlanArtifacts } from '../../src/crds/nodePlan.ts';
import { nodeResult, type NodeResult } from '../../src/crds/nodeResult.ts';
import { kataTree, sha256, tar, treeEntries, zst } from '../unit/node/fixtures/archives.ts';
import { planOf } from '../unit/node/fixtures/host.ts';
import { fileServer, serve, type Serving } from '../unit/node/fixtures/serve.ts';
import type { Identity } from '../unit/kube/certificate.ts';
import { run, succeed } from './support/run.ts';

const SECRET = 'correct-horse-battery-staple';
const BASIC = Buffer.from(`kata:${SECRET}`).toString('base64');
const NAME = 'kata-static-4.1.0-amd64.tar.zst';

let tools: string;
let program: string;
let helper: string;
let identity: Identity;
let archive: Buffer;
let work: string;
let root: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  tools = await mkdtemp(join(tmpdir(), 'kata-tools-'));
  program = join(tools, 'kata-node.mjs');
  helper = join(tools, 'kata-helper');
  await bundleProgram(join(import.meta.dirname, '../../src/node/main.ts'), program, {
    sourceMap: false,
  });
  await compileHelper(helper);
  const pki = await Pki.open(join(tools, 'pki'));
  await pki.issue({ file: 'server', commonName: 'artifacts', names: ['IP:127.0.0.1'] });
  identity = { certificate: await pki.read('server.crt'), key: await pki.read('server.key') };
  const noise = Buffer.from(Array.from({ length: 2_000_000 }, () => Math.random() * 256));
  const tree = { ...kataTree(), 'share/kata-containers/noise': { content: noise } };
  archive = zst(await tar(treeEntries(tree)));
}, 60_000);
afterAll(() => rm(tools, { recursive: true, force: true }));

beforeEach(async () => {
  work = await mkdtemp(join(tmpdir(), 'kata-sources-'));
  root = join(work, 'root');
  await mkdir(join(root, 'opt'), { recursive: true });
  await mkdir(join(work, 'secret/artifact-login'), { recursive: true });
  await writeFile(join(work, 'secret/artifact-login/username'), 'kata\n');
  await writeFile(join(work, 'secret/artifact-login/password'), `${SECRET}\n`);
  await cp(join(tools, 'pki/ca.crt'), join(work, 'ca.crt'));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(work, { recursive: true, force: true });
});

interface End {
  readonly code: number | null;
  readonly result: NodeResult;
  /** All that it printed. */
  readonly said: string;
}

/** As in a Pod, with all that a Pod leaves behind in `work`. */
async function stage(
  artifacts: PlanArtifacts,
  meanwhile?: (child: ChildProcess) => Promise<void>,
): Promise<End> {
  await writeFile(join(work, 'plan.json'), JSON.stringify(planOf({ artifacts })));
  const child = spawn(
    process.execPath,
    [
      ...[program, 'stage', '--plan', join(work, 'plan.json'), '--root', root, '--output', 'json'],
      ...['--credentials', join(work, 'secret/artifact-login'), '--ca', join(work, 'ca.crt')],
      ...['--attempt', 'a1', '--result', join(work, 'result.json')],
    ],
    { env: { PATH: process.env['PATH'] ?? '', KATA_HELPER: helper } },
  );
  children.push(child);
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data: Buffer) => (said += data.toString()));
  const ended = once(child, 'close');
  await meanwhile?.(child);
  await ended;
  const text = await readFile(join(work, 'result.json'), 'utf8').catch(() => '');
  const result = text === '' ? EMPTY : nodeResult.parse(JSON.parse(text));
  return { code: child.exitCode, result, said };
}

const EMPTY = { outcome: 'failed' } as NodeResult;

const sources = (url: string): PlanArtifacts => ({
  kind: 'sources',
  sources: [{ url, sha256: sha256(archive) }],
});

/** Every file but the ones that the secret is given in, and what was printed. */
async function placesOfTheSecret(said: string): Promise<string[]> {
  const found = said.includes(SECRET) || said.includes(BASIC) ? ['printed'] : [];
  for (const name of await readdir(work, { recursive: true })) {
    const path = join(work, name);
    if (name.startsWith('secret/') || !(await stat(path)).isFile()) continue;
    const content = await readFile(path);
    if (content.includes(SECRET) || content.includes(BASIC)) found.push(name);
  }
  return found;
}

const guarded =
  (inner: RequestListener): RequestListener =>
  (request, response) => {
    if (request.headers.authorization === `Basic ${BASIC}`) inner(request, response);
    else response.writeHead(401).end();
  };

const versions = (): Promise<string[]> => readdir(join(root, 'opt/kata/versions'));
const download = join('opt/kata/state/download', '');

describe('artifacts behind a password and a private authority', () => {
  test('become a version, and the secret is nowhere', async () => {
    const { url, asked } = await serve(guarded(fileServer(archive)), identity);
    const { result, said } = await stage(sources(`${url}/${NAME}?token=1`));
    expect(result).toMatchObject({ outcome: 'done', bytesWritten: expect.any(Number) as number });
    expect(asked).toHaveLength(1);
    expect(await versions()).toHaveLength(1);
    await expect(readdir(join(root, download))).rejects.toThrow('ENOENT');
    expect(await placesOfTheSecret(said)).toEqual([]);
  });

  test.each([
    [
      'wrong',
      async () => writeFile(join(work, 'secret/artifact-login/password'), `not-${SECRET}`),
      'KATA_E_ARTIFACT_FETCH',
      /HTTP status 401 .* with credentials/,
    ],
    [
      'gone',
      async () => rm(join(work, 'secret/artifact-login'), { recursive: true }),
      'KATA_E_ARTIFACT_ACCESS',
      /artifact-login: it is missing/,
    ],
    [
      'without its key',
      async () => rm(join(work, 'secret/artifact-login/password')),
      'KATA_E_ARTIFACT_ACCESS',
      /it has no key password/,
    ],
  ])('whose password is %s are refused with a reason', async (_, spoil, code, words) => {
    await spoil();
    const { url } = await serve(guarded(fileServer(archive)), identity);
    const { code: exitCode, result, said } = await stage(sources(`${url}/${NAME}`));
    expect(exitCode).toBe(0);
    expect(result).toMatchObject({ outcome: 'refused', error: { code, step: 'Download' } });
    expect(result.error?.message).toMatch(words);
    expect(await placesOfTheSecret(said)).toEqual([]);
  });

  test('whose certificate is of another authority are refused, and the password is not sent', async () => {
    const other = await Pki.open(join(work, 'other'));
    await cp(join(other.directory, 'ca.crt'), join(work, 'ca.crt'));
    const { url, asked } = await serve(guarded(fileServer(archive)), identity);
    const { result } = await stage(sources(`${url}/${NAME}`));
    expect(result.error?.message).toContain('its certificate is not trusted');
    expect(asked).toEqual([]);
  });

  test('that redirect to storage elsewhere give it no password', async () => {
    const storage = await serve(fileServer(archive), identity);
    const { url } = await serve(
      guarded((_, response) => {
        response.writeHead(307, { location: `${storage.url}/signed?signature=abc` }).end();
      }),
      identity,
    );
    const { result, said } = await stage(sources(`${url}/${NAME}`));
    expect(result).toMatchObject({ outcome: 'done' });
    expect(storage.asked).toMatchObject([{ authorization: undefined }]);
    expect(await placesOfTheSecret(said)).toEqual([]);
  });
});

describe('a download whose process is killed', () => {
  /** Sends half of it to the first who asks, and then nothing. */
  async function stalling(): Promise<Serving> {
    const whole = fileServer(archive);
    let isFirst = true;
    return serve(
      guarded((request, response) => {
        if (!isFirst) {
          whole(request, response);
          return;
        }
        isFirst = false;
        response.writeHead(200, { etag: '"v1"', 'content-length': archive.length });
        response.write(archive.subarray(0, 1_000_000));
      }),
      identity,
    );
  }

  async function halfIsThere(): Promise<void> {
    for (;;) {
      const at = join(root, download);
      const names = await readdir(at).catch(() => []);
      const part = names.find((name) => name.endsWith('.partial'));
      if (part !== undefined && (await stat(join(at, part))).size === 1_000_000) return;
      await sleep(5);
    }
  }

  test.each(['SIGKILL', 'SIGTERM'] as const)(
    'by %s goes on where it was, and writes only what was missing',
    async (signal) => {
      const { url, asked } = await stalling();
      const first = await stage(sources(`${url}/${NAME}`), async (child) => {
        await halfIsThere();
        child.kill(signal);
      });
      expect((await readdir(join(root, 'opt/kata/versions'))).length).toBe(0);
      expect(await placesOfTheSecret(first.said)).toEqual([]);
      const { result, said } = await stage(sources(`${url}/${NAME}`));
      expect(result).toMatchObject({ outcome: 'done' });
      expect(asked.map(({ range }) => range)).toEqual([undefined, 'bytes=1000000-']);
      const [version = ''] = await versions();
      const unpacked = await stat(
        join(root, 'opt/kata/versions', version, 'share/kata-containers/noise'),
      );
      // What is unpacked, and the half that was missing: no byte of the archive was fetched twice.
      const downloadedBytes = archive.length - 1_000_000;
      expect(result.bytesWritten).toBeGreaterThan(unpacked.size + downloadedBytes);
      expect(result.bytesWritten).toBeLessThan(unpacked.size + downloadedBytes + 600_000);
      await expect(readdir(join(root, download))).rejects.toThrow('ENOENT');
      expect(await placesOfTheSecret(said)).toEqual([]);
    },
  );

  test('leaves nothing when something else is asked for next', async () => {
    const { url } = await stalling();
    await stage(sources(`${url}/${NAME}`), async (child) => {
      await halfIsThere();
      child.kill('SIGKILL');
    });
    const directory = join(root, 'srv');
    await mkdir(directory);
    await writeFile(join(directory, NAME), archive);
    const { result } = await stage({ kind: 'hostPath', path: '/srv' });
    expect(result).toMatchObject({ outcome: 'done' });
    await expect(readdir(join(root, download))).rejects.toThrow('ENOENT');
  });
});

describe('a bundle', () => {
  test('is made by one command and installed without a network', async () => {
    const { url } = await serve(guarded(fileServer(archive)), identity);
    const bundle = join(root, 'bundle');
    const source = `${url}/${NAME}#sha256=${sha256(archive)}`;
    const made = await run(process.execPath, [
      ...[program, 'bundle', '--into', bundle, source],
      ...['--credentials', join(work, 'secret/artifact-login'), '--ca', join(work, 'ca.crt')],
    ]);
    expect(made).toMatchObject({ code: 0, stderr: '' });
    await succeed(run('sh', ['-c', `cd ${bundle} && sha256sum --check --strict SHA256SUMS`]));
    // In a network namespace of its own there is not even a loopback that is up.
    await writeFile(
      join(work, 'plan.json'),
      JSON.stringify(planOf({ artifacts: { kind: 'hostPath', path: '/bundle' } })),
    );
    const args = [
      program,
      'stage',
      '--plan',
      join(work, 'plan.json'),
      '--root',
      root,
      '--output',
      'json',
    ];
    const environment = ['env', `KATA_HELPER=${helper}`];
    const staged = await run('unshare', ['--net', ...environment, process.execPath, ...args]);
    expect(nodeResult.parse(JSON.parse(staged.stdout))).toMatchObject({ outcome: 'done' });
    expect(await placesOfTheSecret(made.stdout + staged.stdout + staged.stderr)).toEqual([]);
  });
});
