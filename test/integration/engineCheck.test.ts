import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkEngineConfig } from '../../src/node/engine/check.ts';
import type { Engine } from '../../src/node/engine/engine.ts';
import type { EngineRecord } from '../../src/node/engine/record.ts';
import { versionOf } from '../../src/node/engine/version.ts';
import { host, signal } from './support/engineRelease.ts';

const TEXT = 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n';
let directory: string;

/** A containerd that keeps count of what it was asked, and finds everything good. */
async function putBinary(): Promise<void> {
  const path = join(directory, 'containerd');
  const script = `#!/bin/sh\necho "$*" >>${directory}/asked\ncase "$*" in *dump) cat ${configPath()} ;; *) echo containerd x 1.7.24 y ;; esac\n`;
  await writeFile(`${path}.new`, script);
  await chmod(`${path}.new`, 0o755);
  await rename(`${path}.new`, path);
}

function configPath(): string {
  return join(directory, 'etc/config.toml');
}

async function putConfig(text: string): Promise<void> {
  await mkdir(dirname(configPath()), { recursive: true });
  await writeFile(configPath(), text);
}

async function theEngine(): Promise<Engine> {
  const binaryPath = join(directory, 'containerd');
  return {
    name: 'containerd',
    ...(await versionOf(host, binaryPath, signal())),
    configPath: configPath(),
    socket: join(directory, 'socket'),
    binaryPath,
    running: false,
  };
}

async function recordOf(engine: Engine): Promise<EngineRecord> {
  const judgedSha256 = createHash('sha256')
    .update(await readFile(configPath()))
    .digest('hex');
  return {
    owner: 'kata',
    engine: { ...engine },
    original: { path: configPath(), existed: true, mode: 0o644, uid: 0, gid: 0 },
    handlers: [],
    judged: { sha256: judgedSha256, target: 'these handlers' },
  };
}

async function dumps(): Promise<number> {
  const asked = await readFile(join(directory, 'asked'), 'utf8').catch(() => '');
  return asked.split('\n').filter((line) => line.endsWith('dump')).length;
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ko-check-'));
  await putBinary();
  await putConfig(TEXT);
});
afterEach(() => rm(directory, { recursive: true }));

test('a file that this very binary has accepted is not put to it again', async () => {
  const engine = await theEngine();
  await checkEngineConfig(host, engine, signal(), await recordOf(engine));
  expect(await dumps()).toBe(0);
});

test.each([
  ['nobody has written down', () => Promise.resolve(), () => undefined],
  [
    'somebody has edited since',
    () => putConfig(`${TEXT}# a word\n`),
    (record: EngineRecord) => record,
  ],
  ['an earlier binary has accepted', putBinary, (record: EngineRecord) => record],
  [
    'imports others',
    async () => {
      await writeFile(join(directory, 'other.toml'), 'version = 2\n');
      await putConfig(`imports = ["${directory}/other.toml"]\n${TEXT}`);
    },
    (record: EngineRecord, now: EngineRecord) => ({ ...record, judged: now.judged }),
  ],
] as const)('a file that %s is put to the binary', async (_, change, known) => {
  const before = await recordOf(await theEngine());
  await change();
  const engine = await theEngine();
  await checkEngineConfig(host, engine, signal(), known(before, await recordOf(engine)));
  expect(await dumps()).toBe(1);
});
