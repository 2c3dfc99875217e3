/** Mistakes that people make: each is a clear message, and the node is as it was. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CONTAINERD_CONFIG } from '../operator/host.ts';
import { packArchives } from '../standin/pack.ts';
import { serveFiles, type FileServer } from './support/fileServer.ts';
import {
  engineStarts,
  fingerprints,
  kataDeployment,
  NODES,
  rig,
  type Rig,
} from './support/operator.ts';

describe('bad input', () => {
  let it_: Rig;
  let files: FileServer;
  let configBefore: Record<string, string>;
  let startsBefore: Record<string, number>;

  beforeAll(async () => {
    it_ = await rig();
    await it_.operator.remove('kata');
    files = await serveFiles(it_.cluster);
    configBefore = await fingerprints(it_.cluster);
    startsBefore = await engineStarts(it_.cluster);
  });

  afterAll(async () => {
    await it_.operator.remove('kata');
    await files.close();
  });

  afterEach(async () => {
    const { cluster, operator } = it_;
    expect(await fingerprints(cluster)).toEqual(configBefore);
    expect(await engineStarts(cluster)).toEqual(startsBefore);
    for (const node of NODES) {
      const ready = await cluster.kubectl([
        'get',
        'node',
        node,
        '-o',
        'jsonpath={.status.conditions[?(@.type=="Ready")].status}',
      ]);
      expect(ready, node).toBe('True');
    }
    await operator.remove('kata');
  });

  /** The reason must be in the condition, the failure list and an Event, with the words that help. */
  async function expectRefusal(spec: object, reason: string, words: RegExp): Promise<void> {
    const { cluster, operator } = it_;
    await operator.apply(kataDeployment({ rollout: { failureBudget: 0 }, ...spec }));
    const condition = await operator.waitReason(
      'kata',
      'Degraded',
      'FailureBudgetExhausted',
      180_000,
    );
    expect(condition.message).toMatch(words);
    expect(condition.message).toContain(`/${reason}: `);
    const events = await cluster.kubectl([
      'get',
      'events',
      '-A',
      '-o',
      'jsonpath={range .items[*]}{.reason}{"\\n"}{end}',
    ]);
    expect(events.split('\n')).toContain(reason);
  }

  async function source(file: string, name: string): Promise<{ url: string; sha256: string }> {
    const content = await readFile(file);
    return {
      url: files.add(name, content),
      sha256: createHash('sha256').update(content).digest('hex'),
    };
  }

  it('names a runtime that does not exist, and the nearest that does', async () => {
    await it_.operator.apply(
      kataDeployment({ runtimes: [{ name: 'cloud-hypervisr', base: 'chl' }] }),
    );
    const condition = await it_.operator.waitReason('kata', 'Degraded', 'UnknownRuntime');
    expect(condition.message).toContain('"chl"; did you mean "clh"?');
    expect((await it_.operator.kataNodes()).length).toBe(0);
  });

  it('refuses an archive whose sha256 is not the given one', async () => {
    const url = files.add('kata.tar.zst', Buffer.from('anything'));
    await expectRefusal(
      { artifacts: { sources: [{ url, sha256: 'a'.repeat(64) }] } },
      'ArtifactDigestMismatch',
      /aaaa/,
    );
  });

  it('says which URL cannot be reached', async () => {
    const url = files.unreachableUrl('kata.tar.zst');
    await expectRefusal(
      { artifacts: { sources: [{ url, sha256: 'b'.repeat(64) }] } },
      'ArtifactUnavailable',
      new RegExp(url.replaceAll('.', '\\.')),
    );
  });

  it('refuses a file that is no archive', async () => {
    const content = Buffer.from('this is a page that says 404\n');
    const sha256 = createHash('sha256').update(content).digest('hex');
    await expectRefusal(
      { artifacts: { sources: [{ url: files.add('page.tar.zst', content), sha256 }] } },
      'ArtifactInvalid',
      /not a usable archive/,
    );
  });

  it('refuses binaries for another architecture', async () => {
    const index = await packArchives({
      kind: 'wrongArch',
      dir: join(files.directory, 'wrong-arch'),
    });
    const sources = await Promise.all(
      index.archives.map(({ file }) => source(join(files.directory, 'wrong-arch', file), file)),
    );
    await expectRefusal({ artifacts: { sources } }, 'WrongArchitecture', /arm64.*amd64/);
  });

  it('does not touch a config.toml that does not parse, and names the line', async () => {
    const { cluster } = it_;
    const originals = new Map<string, Buffer>();
    for (const node of NODES) {
      const original = await cluster.readFile(node, CONTAINERD_CONFIG);
      originals.set(node, original);
      await cluster.writeFile(
        node,
        CONTAINERD_CONFIG,
        Buffer.concat([original, Buffer.from('\n[plugins.broken\n')]),
      );
    }
    const broken = await fingerprints(cluster);
    try {
      await expectRefusal({}, 'EngineConfigInvalid', /line \d+/);
      expect(await fingerprints(cluster)).toEqual(broken);
    } finally {
      for (const [node, original] of originals)
        await cluster.writeFile(node, CONTAINERD_CONFIG, original);
    }
  });
});
