/**
 * Every handler of a release, started from two versions at once: neither uses a file of the other. Stand-ins take the
 * place of shims and hypervisors: each says which file it was started from and which files it could read.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { archiveTree } from '../../e2e/standin/tree.ts';
import type { PlanRuntime } from '../../src/crds/nodePlan.ts';
import { CATALOGUE } from '../../src/kata/catalogue.ts';
import { hypervisorBinaries, parseConfiguration, referencedFiles } from '../../src/kata/render.ts';
import type { Host } from '../../src/node/host/host.ts';
import { activate } from '../../src/node/stages/activate.ts';
import { stage } from '../../src/node/stages/stage.ts';
import { writeTree, type TreeFile } from '../unit/node/fixtures/archives.ts';
import {
  FileEngine,
  contextOf,
  planOf,
  snapshot,
  temporaryHost,
} from '../unit/node/fixtures/host.ts';

/** Names itself and every file below /opt that it can read, then waits to be told to end. */
const STAND_IN = `#!/bin/sh
echo "started $0"
for argument in "$@"; do
  case $argument in
  /opt/*) if [ -d "$argument" ] || cat "$argument" >/dev/null; then echo "read $argument"; else echo "missing $argument"; fi ;;
  esac
done
echo ready
read line
`;

const REVISIONS = ['r1', 'r2'] as const;
type Revision = (typeof REVISIONS)[number];

const RUNTIMES: readonly PlanRuntime[] = CATALOGUE.filter(({ architectures }) =>
  architectures.includes('amd64'),
).map(({ name, hypervisor, shimPath, configurationPath, architectures }) => ({
  handler: `kata-${name}`,
  base: name,
  ...{ hypervisor, shimPath, configurationPath },
  architectures: [...architectures],
  podAnnotations: [],
  required: true,
}));

async function release(version: string): Promise<Record<string, TreeFile>> {
  const tree: Record<string, TreeFile> = {};
  for (const archive of ['kata-static', 'kata-go-static'] as const) {
    const { entries } = await archiveTree({
      ...{ archive, shared: true, fullSize: false, runsc: undefined, machine: 'x86_64' },
      shim: import.meta.filename,
    });
    for (const entry of entries) {
      if ('linkTarget' in entry) tree[entry.path] = { link: entry.linkTarget };
      else if (/(^|\/)bin\/|libexec\//.test(entry.path))
        tree[entry.path] = { mode: 0o755, content: STAND_IN };
      else if ('bytes' in entry.content)
        tree[entry.path] = { mode: entry.mode, content: entry.content.bytes };
    }
  }
  return { ...tree, VERSION: { content: `${version}\n` } };
}

/** Brings one revision to the host; returns the directory of its version. */
async function bring(host: Host, engine: FileEngine, revision: Revision): Promise<string> {
  const path = `/srv/${revision}`;
  await writeTree(host.at(path), await release(revision === 'r1' ? '4.0.0' : '4.1.0'));
  const context = contextOf(host, {
    engine: engine.port,
    attempt: revision,
    plan: planOf({ revision, artifacts: { kind: 'hostPath', path }, runtimes: [...RUNTIMES] }),
  });
  const staged = await stage(context);
  expect(staged).toMatchObject({ outcome: 'done' });
  expect((await activate(context)).result).toMatchObject({ outcome: 'done' });
  return `/opt/kata/versions/${staged.facts.artifacts?.digest ?? ''}`;
}

interface Started {
  readonly child: ChildProcess;
  readonly output: string;
}

/** With the host's /opt as /opt, in a mount namespace of its own: the paths in the files are absolute. */
async function start(host: Host, argv: readonly string[]): Promise<Started> {
  const script = 'mount --bind "$0" /opt && exec "$@"';
  const args = ['--mount', '--propagation', 'private', 'sh', '-c', script, host.at('/opt')];
  const child = spawn('unshare', [...args, ...argv], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  let output = '';
  for await (const data of child.stdout) {
    output += String(data);
    if (output.endsWith('ready\n')) break;
  }
  if (!output.endsWith('ready\n')) await ended;
  return { child, output };
}

async function end({ child }: Started): Promise<void> {
  const ended = once(child, 'close');
  child.stdin?.end('\n');
  await ended;
}

/** Command lines of a handler: its shim, and its hypervisor where it has one, each with every file that they are told. */
async function commandsOf(host: Host, revision: Revision, runtime: PlanRuntime, version: string) {
  const file = `/opt/kata/revisions/${revision}/${runtime.handler}/configuration.toml`;
  const configuration = parseConfiguration(await readFile(host.at(file), 'utf8'));
  const files = referencedFiles(configuration);
  const shim = [join(version, runtime.shimPath), file];
  return [shim, ...hypervisorBinaries(configuration).map((binary) => [binary, ...files])];
}

describe('handlers of two versions on one host', () => {
  test('start side by side, and each uses the files of its own version and revision alone', async ({
    skip,
  }) => {
    if (process.arch !== 'x64') skip('the layout of the stand-ins is that of amd64');
    if (process.getuid?.() !== 0) skip('this needs the right to mount');
    const host = await temporaryHost();
    const engine = new FileEngine();
    const version = { r1: await bring(host, engine, 'r1'), r2: await bring(host, engine, 'r2') };
    const before = await snapshot(host.at('/opt/kata'));
    expect(version.r1).not.toBe(version.r2);

    const running: Started[] = [];
    for (const runtime of RUNTIMES)
      for (const revision of REVISIONS)
        for (const argv of await commandsOf(host, revision, runtime, version[revision])) {
          const started = await start(host, argv);
          running.push(started);
          const own = [version[revision], `/opt/kata/revisions/${revision}/${runtime.handler}`];
          const lines = started.output.trimEnd().split('\n');
          const paths = lines.slice(0, -1).map((line) => line.replace(/^\S+ /, ''));
          expect(lines[0], argv.join(' ')).toBe(
            `started ${join(version[revision], lines[0]?.split(version[revision])[1] ?? '?')}`,
          );
          expect(lines.filter((line) => line.startsWith('missing'))).toEqual([]);
          expect(
            paths.filter((path) => !own.some((prefix) => path.startsWith(`${prefix}/`))),
            argv.join(' '),
          ).toEqual([]);
        }
    // All of them run at this moment.
    expect(running.length).toBeGreaterThan(RUNTIMES.length * REVISIONS.length);
    expect(running.every(({ child }) => child.exitCode === null)).toBe(true);
    expect(await snapshot(host.at('/opt/kata'))).toEqual(before);
    await Promise.all(running.map(end));
  });

  test('start although every file of the other version is gone', async ({ skip }) => {
    if (process.arch !== 'x64') skip('the layout of the stand-ins is that of amd64');
    if (process.getuid?.() !== 0) skip('this needs the right to mount');
    const host = await temporaryHost();
    const engine = new FileEngine();
    const first = await bring(host, engine, 'r1');
    const second = await bring(host, engine, 'r2');
    for (const path of [first, '/opt/kata/revisions/r1'])
      await rm(host.at(path), { recursive: true });
    for (const runtime of RUNTIMES)
      for (const argv of await commandsOf(host, 'r2', runtime, second)) {
        const started = await start(host, argv);
        expect(started.output).toMatch(/^started (.*\n)+ready\n$/);
        expect(started.output).not.toContain('missing');
        await end(started);
      }
  });
});
