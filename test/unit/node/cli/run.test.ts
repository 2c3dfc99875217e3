import { mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ERRORS } from '../../../../src/errorTable.ts';
import { RESULT_MAX_BYTES, nodeResult, type NodeResult } from '../../../../src/crds/nodeResult.ts';
import type { NodePlan } from '../../../../src/crds/nodePlan.ts';
import { COMMANDS } from '../../../../src/node/cli/options.ts';
import { run } from '../../../../src/node/cli/run.ts';
import type { Host } from '../../../../src/node/host/host.ts';
import { verifyResult } from '../../../../src/node/stages/inspectHost.ts';
import { hostStatus } from '../../../../src/node/stages/status.ts';
import { bundleReport } from '../../../../src/node/artifacts/bundle.ts';
import { kataTree, tar, treeEntries, zst } from '../fixtures/archives.ts';
import {
  ENGINE_CONFIG,
  FC,
  FileEngine,
  ORIGINAL_CONFIG,
  bundle,
  planOf,
  temporaryDirectory,
  temporaryHost,
} from '../fixtures/host.ts';

/** A machine with kata-node on it. Locks need a program of the host, so there is none here. */
async function machine(change: Partial<NodePlan> = {}) {
  const host = await temporaryHost();
  const engine = new FileEngine();
  const files = await temporaryDirectory();
  const plan = join(files, 'plan.json');
  await writeFile(plan, JSON.stringify(planOf(change)));
  const artifacts = await bundle();
  const kataNode = async (...args: string[]) => {
    const printed = { out: '', err: '' };
    const code = await run([...args, '--root', host.root, '--artifacts', artifacts], {
      engine: engine.port,
      signal: new AbortController().signal,
      output: { out: (text) => (printed.out += text), err: (text) => (printed.err += text) },
      probeKvm: () => Promise.resolve({ usable: true }),
      lockFiles: () => Promise.resolve({ release: () => Promise.resolve() }),
    });
    return { code, ...printed };
  };
  return { host, engine, files, plan, kataNode };
}

describe('kata-node by hand', () => {
  it('applies a plan, prints one line per step and ends with 0', async () => {
    const { plan, kataNode, engine } = await machine();
    const { code, out, err } = await kataNode('apply', '--plan', plan);
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^KVM: ok \(\d+ ms\)$/m);
    expect(out).toMatch(/^EngineConfiguration: changed \(\d+ ms\)$/m);
    expect(out).toMatch(/^apply: done in \d+ ms\nhandlers: kata-fc, kata-qemu$/m);
    expect(engine.loaded).toEqual(['kata-fc', 'kata-qemu']);
  });

  it('prints the result alone with --output json', async () => {
    const { plan, kataNode } = await machine();
    const { out, err } = await kataNode('apply', '--plan', plan, '--output', 'json');
    const result = nodeResult.parse(JSON.parse(out));
    expect(result).toMatchObject({
      outcome: 'done',
      stage: 'activate',
      facts: { arch: expect.any(String) as string, engine: { version: '2.4.2' } },
    });
    expect(result.steps.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['KVM', 'Artifacts', 'EngineRestart']),
    );
    expect(err).toMatch(/^Artifacts: changed/m);
  });

  it.each([
    [2, 'EngineConfiguration', { outcome: 'refused' }],
    [3, 'EngineRestart', { outcome: 'rolledBack' }],
  ] as const)('ends with %i when %s fails', async (wanted, step, outcome) => {
    const { plan, kataNode, engine, host } = await machine();
    if (step === 'EngineRestart') engine.failRestart = true;
    else engine.failAt = step;
    const { code, out } = await kataNode('apply', '--plan', plan, '--output', 'json');
    expect(code).toBe(wanted);
    expect(JSON.parse(out)).toMatchObject({ ...outcome, error: { step } });
    expect(await readFile(host.at(ENGINE_CONFIG), 'utf8')).toBe(ORIGINAL_CONFIG);
  });

  it('shows what apply would change, before and after', async () => {
    const { plan, kataNode } = await machine();
    expect((await kataNode('plan', '--plan', plan)).out).toContain('The artifacts are not staged');
    await kataNode('stage', '--plan', plan);
    expect((await kataNode('plan', '--plan', plan)).out).toContain(
      'EngineConfiguration: would change',
    );
    await kataNode('apply', '--plan', plan);
    expect((await kataNode('plan', '--plan', plan)).out).not.toContain('would change');
  });

  it('verifies without writing, and names what was changed behind its back', async () => {
    const { plan, kataNode, host } = await machine();
    await kataNode('apply', '--plan', plan);
    expect(await kataNode('verify', '--plan', plan)).toMatchObject({ code: 0 });
    await writeFile(host.at('/opt/kata/revisions/r1/kata-fc/configuration.toml'), '# mine now\n');
    const { code, out } = await kataNode('verify', '--plan', plan);
    expect(code).toBe(4);
    expect(out).toContain(`KataConfiguration/${ERRORS.KATA_E_DRIFT.reason}: `);
    expect(
      await readFile(host.at('/opt/kata/revisions/r1/kata-fc/configuration.toml'), 'utf8'),
    ).toBe('# mine now\n');
    expect(await kataNode('apply', '--plan', plan)).toMatchObject({ code: 0 });
    expect(await kataNode('verify', '--plan', plan)).toMatchObject({ code: 0 });
  });

  it('verifies every file on demand, with the plan that was applied last, and its remedy helps', async () => {
    const { plan, kataNode, host } = await machine();
    expect(await kataNode('verify', '--files')).toMatchObject({
      code: 2,
      err: expect.stringContaining('no revision is active on this host') as string,
    });
    await kataNode('apply', '--plan', plan);
    const { code, out } = await kataNode('verify', '--files');
    expect([code, out]).toEqual([0, expect.stringMatching(/^VersionFiles: ok \(\d+ ms\)$/m)]);
    const json = verifyResult.strict();
    const clean: unknown = JSON.parse(
      (await kataNode('verify', '--files', '--output', 'json')).out,
    );
    expect(json.parse(clean)).toMatchObject({ outcome: 'done', differences: [] });

    const [digest = ''] = await readdir(host.at('/opt/kata/versions'));
    const at = host.at(`/opt/kata/versions/${digest}/share/kata-containers/kata-containers.img`);
    const bytes = await readFile(at);
    bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0);
    await writeFile(at, bytes);
    const damaged = await kataNode('verify', '--files');
    expect(damaged.code).toBe(4);
    const name = 'share/kata-containers/kata-containers.img';
    expect(damaged.out).toContain(`\n${digest}/${name}: another content\n`);
    expect(damaged.out).toContain(
      `VersionFiles/${ERRORS.KATA_E_FILES_CHANGED.reason}: not as it was unpacked: `,
    );
    const told: unknown = JSON.parse((await kataNode('verify', '--files', '--output', 'json')).out);
    expect(json.parse(told).differences).toEqual([{ digest, path: name, what: 'another content' }]);
    expect(await kataNode('verify')).toMatchObject({ code: 0 });

    await rm(host.at(`/opt/kata/versions/${digest}/.complete`));
    expect((await kataNode('status')).out).toContain(`  ${digest} damaged: active`);
    expect(await kataNode('apply', '--plan', plan)).toMatchObject({ code: 0 });
    expect(await kataNode('verify', '--files')).toMatchObject({ code: 0 });
  });

  it('tells where the host stands and what to do next', async () => {
    const { plan, kataNode, engine } = await machine();
    expect((await kataNode('status')).out).toMatch(
      /^Phase: NotInstalled\n(.*\n)*Next: Nothing to do\. kata-node apply --plan FILE installs\.\n$/,
    );
    await kataNode('stage', '--plan', plan);
    expect((await kataNode('status')).out).toContain('Phase: Staged\n');
    await kataNode('apply', '--plan', plan);
    const { code, out } = await kataNode('status');
    expect(code).toBe(0);
    expect(out).toMatch(
      /^Phase: Active\nDeployment: kata\nActive: revision r1, Kata 4\.1\.0, \/opt\/kata\/versions\/[0-9a-f]{20}\nServed: kata-fc, kata-qemu\n/,
    );
    expect(out).toMatch(/\nOn disk:\n {2}[0-9a-f]{20} Kata 4\.1\.0, \d+ MB: active, staged\n/);
    const json: unknown = JSON.parse((await kataNode('status', '--output', 'json')).out);
    expect(hostStatus.strict().parse(json)).toMatchObject({
      phase: 'Active',
      installed: true,
      deployment: 'kata',
      served: ['kata-fc', 'kata-qemu', 'runc'],
    });
    engine.loaded = ['kata-fc'];
    expect((await kataNode('status')).out).toMatch(
      /Phase: Degraded\n(.*\n)*Not served: kata-qemu\n/,
    );
    await kataNode('remove', '--plan', plan);
    expect((await kataNode('status')).out).toContain('Phase: NotInstalled\n');
  });

  it('goes back to the revision before with one restart, and stays there when it is run again', async () => {
    const { plan, kataNode, engine, host, files } = await machine();
    await kataNode('apply', '--plan', plan);
    const first = await readFile(host.at(ENGINE_CONFIG), 'utf8');
    const second = join(files, 'second.json');
    await writeFile(second, JSON.stringify(planOf({ revision: 'r2', runtimes: [FC] })));
    await kataNode('apply', '--plan', second);
    expect(engine.loaded).toEqual(['kata-fc']);
    const { code, out } = await kataNode('rollback');
    expect(out).toContain('rollback: done in');
    expect(code).toBe(0);
    expect(await readFile(host.at(ENGINE_CONFIG), 'utf8')).toBe(first);
    expect([engine.loaded, engine.restarts]).toEqual([['kata-fc', 'kata-qemu'], 3]);
    expect((await kataNode('status')).out).toMatch(
      /Active: revision r1,.*\nPrevious: revision r2,/,
    );
    expect(await kataNode('rollback')).toMatchObject({ code: 0 });
    expect([engine.loaded, engine.restarts]).toEqual([['kata-fc', 'kata-qemu'], 3]);
    await kataNode('apply', '--plan', second);
    await kataNode('rollback');
    expect([engine.loaded, engine.restarts]).toEqual([['kata-fc', 'kata-qemu'], 5]);
  });

  it('says that there is nothing to go back to', async () => {
    const { plan, kataNode } = await machine();
    expect(await kataNode('rollback')).toMatchObject({
      code: 2,
      err: expect.stringContaining('no revision was ever activated here') as string,
    });
    await kataNode('apply', '--plan', plan);
    expect((await kataNode('rollback')).err).toContain('revision r1 is the only one');
  });

  it.each([
    [[], 'which command?'],
    [['install'], 'there is no command install (preflight, plan, '],
    [['statsu'], 'there is no command statsu; did you mean status?'],
    [['apply', '--hard'], "Unknown option '--hard'"],
    [['apply', '--plan', 'x', '--force'], '--force is for remove alone'],
    [['apply', '--plan', 'x', '--files'], '--files is for verify alone'],
    [['apply', '--output', 'yaml'], '--output is json or text'],
    [['apply', 'everything'], 'everything is not understood'],
    [['apply'], 'name it with --plan FILE'],
  ])('explains %j in one line and ends with 2', async (args, message) => {
    const { kataNode } = await machine();
    const { code, out, err } = await kataNode(...args);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(message);
    expect(err).toMatch(/^kata-node: .*\n$/);
  });

  it.each(COMMANDS)('shows an example for %s', async (command) => {
    const { kataNode } = await machine();
    const { code, out, err } = await kataNode(command, '--help');
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(new RegExp(`example\\n  kata-node ${command}`));
    expect(out).toBe((await kataNode('help', command)).out);
    expect((await kataNode('--help')).out).toContain(`  ${command.padEnd(11)} `);
  });

  it('names the fields of a plan that are wrong', async () => {
    const { kataNode, plan } = await machine();
    await writeFile(plan, JSON.stringify({ ...planOf(), requireKVM: 'yes', planVersion: 2 }));
    const { code, err } = await kataNode('apply', '--plan', plan);
    expect(code).toBe(2);
    expect(err).toContain(
      'planVersion: Invalid input: expected 1; requireKVM: Invalid input: expected boolean',
    );
  });
});

describe('kata-node in a Pod', () => {
  async function pod(change: Partial<NodePlan> = {}) {
    const node = await machine(change);
    const handoff = join(node.files, 'handoff');
    await mkdir(handoff);
    const container = async (stage: string, attempt = 'pod-1'): Promise<NodeResult> => {
      const message = join(node.files, `${stage}.log`);
      const { code } = await node.kataNode(
        stage,
        '--plan',
        node.plan,
        '--attempt',
        attempt,
        '--result',
        message,
        '--handoff',
        handoff,
      );
      expect(code).toBe(0);
      const text = await readFile(message, 'utf8');
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(RESULT_MAX_BYTES);
      return nodeResult.parse(JSON.parse(text));
    };
    return { ...node, handoff, container };
  }

  async function lines(host: Host, handoff: string): Promise<string[]> {
    const text = await readFile(join(handoff, 'fingerprint'), 'utf8');
    for (const line of text.trimEnd().split('\n')) {
      const [size, mtime, inode, path] = line.split('\t');
      const { size: sizeBytes, mtimeNs, ino } = await stat(host.at(path ?? ''), { bigint: true });
      expect([size, mtime, inode]).toEqual([String(sizeBytes), String(mtimeNs), String(ino)]);
    }
    return text
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t')[3] ?? '');
  }

  it('leaves a result per stage, and in the end a fingerprint of what must not change', async () => {
    const { container, handoff, host } = await pod();
    for (const stage of ['preflight', 'stage', 'activate'])
      expect(await container(stage)).toMatchObject({ stage, outcome: 'done', attempt: 'pod-1' });
    expect((await readdir(handoff)).sort()).toEqual([
      'activate.json',
      'fingerprint',
      'preflight.json',
      'stage.json',
    ]);
    const paths = await lines(host, handoff);
    expect(paths).toContain(ENGINE_CONFIG);
    expect(paths).toContain('/opt/kata/revisions/r1/kata-fc/configuration.toml');
    expect(paths.filter((path) => path.endsWith('/bin/containerd-shim-kata-v2'))).toHaveLength(1);
  });

  it('skips what comes after a stage that did not end well, and leaves no fingerprint', async () => {
    const { container, handoff, host } = await pod({
      artifacts: { kind: 'hostPath', path: '/srv/none' },
    });
    expect(await container('preflight')).toMatchObject({
      outcome: 'refused',
      error: { code: 'KATA_E_ARTIFACT_NOT_FOUND' },
    });
    expect(await container('stage')).toMatchObject({ outcome: 'skipped', steps: [] });
    expect(await container('activate')).toMatchObject({ outcome: 'skipped' });
    expect(await readdir(handoff)).toEqual(['preflight.json']);
    expect(await readdir(host.at('/opt'))).toEqual([]);
  });

  it('takes neither a missing result nor one of another attempt for success', async () => {
    const { container } = await pod();
    expect(await container('stage')).toMatchObject({ outcome: 'skipped' });
    await container('preflight', 'pod-0');
    expect(await container('stage', 'pod-1')).toMatchObject({ outcome: 'skipped' });
  });

  it('answers again in the same way when kubelet runs its containers again', async () => {
    const { container, engine } = await pod();
    for (const stage of ['preflight', 'stage', 'activate', 'preflight', 'stage'])
      await container(stage);
    expect(await container('activate')).toMatchObject({
      outcome: 'done',
      handlers: ['kata-fc', 'kata-qemu'],
      engineRestarts: 0,
      bytesWritten: 0,
    });
    expect(engine.restarts).toBe(1);
  });

  it('reports a plan that cannot be read, and exits 0', async () => {
    const { container, plan } = await pod();
    await writeFile(plan, 'not json');
    expect(await container('preflight')).toMatchObject({
      outcome: 'refused',
      attempt: 'pod-1',
      error: { code: 'KATA_E_PLAN_INVALID' },
    });
  });

  it('removes without any earlier stage', async () => {
    const { container, host } = await pod();
    for (const stage of ['preflight', 'stage', 'activate']) await container(stage);
    expect(await container('remove', 'pod-2')).toMatchObject({
      stage: 'remove',
      outcome: 'done',
      engineRestarts: 1,
    });
    expect(await readdir(host.at('/opt'))).toEqual([]);
    expect(await readFile(host.at(ENGINE_CONFIG), 'utf8')).toBe(ORIGINAL_CONFIG);
  });
});

describe('kata-node bundle', () => {
  it.each([
    [['bundle', '--into', 'x'], 'needs --into DIR, and at least one'],
    [['bundle', 'a.tar.zst'], 'needs --into DIR, and at least one'],
    [['bundle', '--into', 'x', 'https://example.org/a.tar.zst'], 'must end in #sha256='],
  ])('%j is refused with one line', async (args, words) => {
    const { kataNode } = await machine();
    const { code, out, err } = await kataNode(...args);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(words);
    expect(err.trimEnd().split('\n')).toHaveLength(1);
  });

  it('makes a bundle that serves as a directory of the host', async () => {
    const { kataNode, plan, files, host } = await machine({
      artifacts: { kind: 'hostPath', path: '/bundle' },
    });
    const archive = join(files, 'kata-static-4.1.0-amd64.tar.zst');
    await writeFile(archive, zst(await tar(treeEntries(kataTree()))));
    const into = host.at('/bundle');
    const { code, out } = await kataNode('bundle', '--into', into, archive, '--output', 'json');
    expect(code).toBe(0);
    expect(bundleReport.parse(JSON.parse(out))).toMatchObject({
      directory: into,
      archives: [{ file: 'kata-static-4.1.0-amd64.tar.zst' }],
    });
    expect(await kataNode('apply', '--plan', plan)).toMatchObject({ code: 0 });
  });
});
