/** kata-node as a process: killed, stopped, locked out, on a full disk. Only `stage`, which needs no engine. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bundle as bundleProgram } from '../../build/bundle.ts';
import { compileHelper } from '../../build/helper.ts';
import { nodeResult, type NodeResult } from '../../src/crds/nodeResult.ts';
import { kataTree, type TreeFile } from '../unit/node/fixtures/archives.ts';
import { bundle, planOf, snapshot } from '../unit/node/fixtures/host.ts';

const PROGRAM = join(import.meta.dirname, '../../src/node/main.ts');

let tools: string;
let program: string;
let helper: string;
let root: string;
let plan: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  tools = await mkdtemp(join(tmpdir(), 'kata-tools-'));
  program = join(tools, 'kata-node.mjs');
  helper = join(tools, 'kata-helper');
  plan = join(tools, 'plan.json');
  await writeFile(plan, JSON.stringify(planOf()));
  await bundleProgram(PROGRAM, program, { sourceMap: false });
  await compileHelper(helper);
});
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'kata-root-'));
  await mkdir(join(root, 'opt'));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(root, { recursive: true, force: true });
});
afterAll(() => rm(tools, { recursive: true, force: true }));

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; out: string; err: string }>;
}

function kataNode(
  artifacts: string,
  environment: Record<string, string> = { KATA_HELPER: helper },
): Running {
  const args = [
    program,
    'stage',
    '--plan',
    plan,
    '--root',
    root,
    '--artifacts',
    artifacts,
    '--output',
    'json',
  ];
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env['PATH'] ?? '', ...environment },
  });
  children.push(child);
  let out = '';
  let err = '';
  child.stdout.on('data', (data: Buffer) => (out += data.toString()));
  child.stderr.on('data', (data: Buffer) => (err += data.toString()));
  const ended = once(child, 'close').then(() => ({ code: child.exitCode, out, err }));
  return { child, ended };
}

const resultOf = ({ out }: { out: string }): NodeResult => nodeResult.parse(JSON.parse(out));

/** Large enough that there is time to interrupt. */
function largeTree(): Record<string, TreeFile> {
  const noise = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7919) % 251));
  const files = Array.from(
    { length: 150 },
    (_, i) =>
      [`share/kata-containers/part-${i}`, { content: Buffer.alloc(400_000, noise) }] as const,
  );
  return { ...kataTree(), ...Object.fromEntries(files) };
}

async function partialAppears(): Promise<void> {
  for (;;) {
    const names = await readdir(join(root, 'opt/kata/versions')).catch(() => []);
    const partial = names.find((name) => name.endsWith('.partial'));
    if (
      partial !== undefined &&
      (await readdir(join(root, 'opt/kata/versions', partial))).length > 0
    )
      return;
    await sleep(1);
  }
}

const versions = (): Promise<string[]> => readdir(join(root, 'opt/kata/versions'));

describe('kata-node stage', () => {
  test('killed in the middle leaves no version, and the next run makes it whole', async () => {
    const artifacts = await bundle(largeTree());
    const { child, ended } = kataNode(artifacts);
    await partialAppears();
    child.kill('SIGKILL');
    await ended;
    expect((await versions()).every((name) => name.endsWith('.partial'))).toBe(true);
    const second = await kataNode(artifacts).ended;
    expect(resultOf(second)).toMatchObject({ outcome: 'done' });
    const [version = '', ...others] = await versions();
    expect(others).toEqual([]);
    const files = Object.keys(await snapshot(join(root, 'opt/kata/versions', version)));
    expect(files.filter((path) => path.includes('part-'))).toHaveLength(150);
  });

  test('ended by SIGTERM takes back what it had unpacked and says that it was stopped', async () => {
    const { child, ended } = kataNode(await bundle(largeTree()));
    await partialAppears();
    child.kill('SIGTERM');
    const end = await ended;
    expect(end.code).toBe(2);
    expect(resultOf(end)).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_INTERRUPTED', step: 'Artifacts' },
    });
    expect(end.err).not.toMatch(/^\s+at /m);
    expect(await versions()).toEqual([]);
  });

  test.for([
    ['our lock, by the helper', true, 'opt/kata/state/lock'],
    ['our lock, by flock(1) without the helper', false, 'opt/kata/state/lock'],
    ["kata-deploy's lock, by the helper", true, 'run/lock/kata-deploy.lock'],
    ["kata-deploy's lock, by flock(1)", false, 'run/lock/kata-deploy.lock'],
  ] as const)('waits for another installer that holds %s', async ([, withHelper, file]) => {
    const environment = { KATA_HELPER: withHelper ? helper : '/nonexistent' };
    const artifacts = await bundle();
    const lock = join(root, file);
    await mkdir(dirname(lock), { recursive: true });
    const holder = spawn('flock', [lock, 'sh', '-c', 'echo held; exec cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    children.push(holder);
    await once(holder.stdout, 'data');
    const { ended } = kataNode(artifacts, environment);
    await sleep(1500);
    expect(await versions().catch(() => [])).toEqual([]);
    holder.stdin.end();
    expect(resultOf(await ended)).toMatchObject({ outcome: 'done' });
  });

  test('on a disk that somebody else fills meanwhile gives the room back and reports the figures', async ({
    skip,
  }) => {
    const mounted = await promisify(execFile)('mount', [
      '-t',
      'tmpfs',
      '-o',
      'size=20m',
      'tmpfs',
      join(root, 'opt'),
    ]).then(
      () => true,
      () => false,
    );
    if (!mounted) skip('this needs the right to mount a tmpfs');
    try {
      const artifacts = await bundle(largeTree());
      const index = join(artifacts, 'index.json');
      // The index promises less than there is, as if the room had been there when it was checked.
      await writeFile(
        index,
        (await readFile(index, 'utf8')).replace(/"unpackedBytes":\d+/, '"unpackedBytes":1000'),
      );
      const result = resultOf(await kataNode(artifacts).ended);
      expect(result).toMatchObject({ outcome: 'refused', error: { code: 'KATA_E_DISK_SPACE' } });
      expect(await versions()).toEqual([]);
      expect(
        (await promisify(execFile)('df', ['--output=used', '-k', join(root, 'opt')])).stdout,
      ).toMatch(/\n\s*[0-9]{1,3}\n/);
    } finally {
      await promisify(execFile)('umount', [join(root, 'opt')]);
    }
  });

  test('on a read-only file system says so in words', async ({ skip }) => {
    const opt = join(root, 'opt');
    const mounted = await promisify(execFile)('mount', [
      '-t',
      'tmpfs',
      '-o',
      'ro',
      'tmpfs',
      opt,
    ]).then(
      () => true,
      () => false,
    );
    if (!mounted) skip('this needs the right to mount a tmpfs');
    try {
      expect(resultOf(await kataNode(await bundle()).ended)).toMatchObject({
        outcome: 'unsupported',
        error: { code: 'KATA_E_NOT_WRITABLE' },
      });
    } finally {
      await promisify(execFile)('umount', [opt]);
    }
  });
});

describe('the bundled program', () => {
  test('needs nothing but itself', async () => {
    await access(program);
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [program, 'status', '--root', root, '--output', 'json'],
      { cwd: '/' },
    );
    expect(JSON.parse(stdout)).toMatchObject({ installed: false, versions: [] });
  });
});
