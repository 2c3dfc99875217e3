/** What the engines themselves make of edited files in random layouts: nothing but our handler is new to them. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ENGINE_RELEASES, engineBinary } from '../../e2e/cluster/engines.ts';
import { KataError } from '../../src/errors.ts';
import { schemaOf } from '../../src/node/engine/containerd/schema.ts';
import { execOnHost } from '../../src/node/host/exec.ts';
import { hostAt } from '../../src/node/host/host.ts';
import { parseToml, tableAt, type TomlTable } from '../../src/node/toml/document.ts';
import { extendDocument } from '../../src/node/toml/extend.ts';
import { anyTable, type Table, type TomlDocument, tomlDocuments } from '../fuzz/tomlDocument.ts';
import { failureOf, sha256, useRelease } from './support/engineRelease.ts';

const DOCUMENTS = 100;
let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ko-toml-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** A table at the end of a path, in the shape of the generator. */
function at(path: readonly string[], inner: Table): Table {
  return path.reduceRight<Table>(
    (value, key) => ({ kind: 'table', entries: [[key, value]] }),
    inner,
  );
}

/** A configuration with runc, and anything at all in the section of a plugin that does not exist. */
function documents(version: 2 | 3): fc.Arbitrary<TomlDocument> {
  const [, plugin = '', ...rest] = schemaOf(version).runtimes;
  const type = { kind: 'scalar', literal: '"io.containerd.runc.v2"' } as const;
  const runc = at([...rest, 'runc'], { kind: 'table', entries: [['runtime_type', type]] });
  const roots = fc.tuple(anyTable, fc.boolean()).map(([random, first]): Table => {
    const plugins = [
      [plugin, runc],
      ['io.containerd.example.v1', random],
    ] as const;
    return {
      kind: 'table',
      entries: [
        ['version', { kind: 'scalar', literal: String(version) }],
        ['plugins', { kind: 'table', entries: first ? plugins : plugins.toReversed() }],
      ],
    };
  });
  // No engine from 2.0 on reads a byte order mark, and none before it an escape in a key.
  return tomlDocuments(roots).filter(({ text }) =>
    version === 2 ? !/\\[uU]00/.test(text) : !text.startsWith('\uFEFF'),
  );
}

/** What the binary makes of the text; undefined when it refuses it. */
async function dump(binary: string, text: string): Promise<TomlTable | undefined> {
  const file = join(directory, 'config.toml');
  await writeFile(file, text);
  const options = { timeoutMs: 30_000, signal: AbortSignal.timeout(30_000) };
  const ended = await execOnHost(
    hostAt('/'),
    [binary, '--config', file, 'config', 'dump'],
    options,
  );
  return ended.code === 0 ? parseToml(ended.stdout, file) : undefined;
}

function edited(text: string, runtimes: readonly string[]): string | undefined {
  const tables = [
    {
      path: [...runtimes, 'kata-fc'],
      entries: { runtime_type: 'io.containerd.kata.v2', pod_annotations: ['a.*'] },
    },
    { path: [...runtimes, 'kata-fc', 'options'], entries: { ConfigPath: '/opt/kata/c.toml' } },
  ];
  try {
    return extendDocument(text, 'kata', tables, ['# ours'], 'config.toml');
  } catch (error) {
    expect(error).toBeInstanceOf(KataError);
    return undefined;
  }
}

/** The dump without one handler. */
function without(document: TomlTable, path: readonly string[]): unknown {
  const copy = structuredClone(document);
  Reflect.deleteProperty(tableAt(copy, path.slice(0, -1)) ?? {}, path.at(-1) ?? '');
  return copy;
}

describe.for(ENGINE_RELEASES)('containerd %s', (release) => {
  test('finds our handler and nothing else new in random layouts of a file', async () => {
    const binary = await engineBinary(release);
    const version = release.startsWith('2') ? 3 : 2;
    const { runtimes } = schemaOf(version);
    // The same in every run; other seeds are the work of `npm run bench -- fuzz`.
    const seed = 20_261_121;
    let compared = 0;
    for (const { text } of fc.sample(documents(version), { numRuns: DOCUMENTS, seed })) {
      const after = edited(text, runtimes);
      const before = after === undefined ? undefined : await dump(binary, text);
      // What it does not read as it is, we would refuse too: its dump is asked first.
      if (before === undefined || after === undefined) continue;
      const found = await dump(binary, after);
      expect(found, `seed ${seed}, refused: ${JSON.stringify(after)}`).toBeDefined();
      if (found === undefined) continue;
      const handler = [...schemaOf(Number(found['version'])).runtimes, 'kata-fc'];
      expect(tableAt(found, handler), `seed ${seed}: ${text}`).toMatchObject({
        runtime_type: 'io.containerd.kata.v2',
        pod_annotations: ['a.*'],
        options: { ConfigPath: '/opt/kata/c.toml' },
      });
      expect(without(found, handler), `seed ${seed}: ${text}`).toEqual(without(before, handler));
      compared += 1;
    }
    expect(compared).toBeGreaterThan(5);
  });
});

describe.for(['1.6', '1.7'] as const)('containerd %s', (release) => {
  const its = useRelease(release);

  test('is left alone when its parser takes the escape in a key literally', async () => {
    const escaped = (text: string): string =>
      text.replace(
        /^.*"io\.containerd\.grpc\.v1\.cri"\.containerd\.runtimes\."crun".*$/m,
        '[plugins."io.containerd.grpc\\u002ev1.cri".containerd.runtimes.crun]',
      );
    const store = await its.running((place) => escaped(its.admin.text(place)));
    const original = await sha256(its.instance.configPath);
    expect(await readFile(its.instance.configPath, 'utf8')).toContain('\\u002ev1');
    const { pid } = its.instance;
    const error = await failureOf(its.install(store));
    expect(error).toMatchObject({ code: 'KATA_E_ENGINE_CONFIG_CONFLICT' });
    expect(error.message).toMatch(/config\.toml: line 2\d: this engine does not read the escape/);
    await its.expectUntouched(original, pid, store);
  });
});
