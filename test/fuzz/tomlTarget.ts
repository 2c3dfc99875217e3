/** The managed block in any text at all: it is refused, or it comes and goes and nothing else changes. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { findBlock } from '../../src/node/toml/block.ts';
import {
  decodeToml,
  isToml,
  parseToml,
  tableAt,
  type TomlTable,
  valueAt,
} from '../../src/node/toml/document.ts';
import { contains, extendDocument, reduceDocument } from '../../src/node/toml/extend.ts';
import { statementsOf } from '../../src/node/toml/layout.ts';
import type { BlockTable } from '../../src/node/toml/render.ts';
import { damaged } from './mutate.ts';
import { SECRET, unlessRefused } from './refusal.ts';
import { fuzzTarget } from './target.ts';
import { tomlDocument } from './tomlDocument.ts';
import { tomlLines } from './tomlLines.ts';

export const TOML_FILE = '/etc/containerd/config.toml';
const OWNER = 'kata';
const RUNTIMES = ['plugins', 'io.containerd.grpc.v1.cri', 'containerd', 'runtimes'];
const handler = (name: string, version: string): BlockTable[] => [
  {
    path: [...RUNTIMES, name],
    entries: { runtime_type: version, pod_annotations: ['a.*', '"'], privileged: true },
  },
  { path: [...RUNTIMES, name, 'options'], entries: { ConfigPath: '/opt/\\"\u007F', n: 3 } },
];
export const TABLES = handler('kata-fc', 'io.containerd.kata.v2');
const CHANGED = [...handler('kata-fc', 'changed'), ...handler('kata-clh', 'new')];

export const install = (text: string, tables: readonly BlockTable[] = TABLES): string =>
  extendDocument(text, OWNER, tables, ['# ours'], TOML_FILE);
const uninstall = (text: string): string => reduceDocument(text, OWNER, TOML_FILE);

/** As administrators keep it. */
const TYPICAL = `# keep in step with the other nodes
version = 2
imports = ["/etc/containerd/conf.d/*.toml"]

[plugins."io.containerd.grpc.v1.cri"]
\tsandbox_image = "registry.example/pause:3.9"  # mirrored
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = 'runc'
    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      options = { SystemdCgroup = true }
[plugins."io.containerd.grpc.v1.cri".registry.configs."registry.example".auth]
  password = "${SECRET}"`;

export const texts = fc.oneof(
  { weight: 3, arbitrary: tomlDocument.map(({ text }) => text) },
  { weight: 1, arbitrary: tomlLines },
  { weight: 2, arbitrary: fc.constant(TYPICAL) },
  { weight: 1, arbitrary: fc.constantFrom('', '\n', '# only a comment', '\uFEFF', '\r\n') },
);
const OUR_LINES = install(TYPICAL).slice(TYPICAL.length).split('\n');
export const PIECES = [
  ...['"""', "'''", '"', "'", '[', ']', '[[', ']]', '{', '}', '=', '.', ',', '#', '\\', '\n', '\r'],
  ...[
    '\r\n',
    '\0',
    '\uFEFF',
    '\u2028',
    '\u007F',
    '\u0085',
    ' ',
    '\t',
    '0',
    '_',
    'e',
    '+',
    '\u001b',
  ],
  ...['a = 1\n', '[a]\n', '[[a]]\n', 'a.b = 1\n', 'a = { b = 1 }\n', 'a = [\n', 'plugins = {}\n'],
  ...[
    '[plugins]\n',
    '[[plugins]]\n',
    `[${RUNTIMES[0] ?? ''}.x]\n`,
    '# >>> kata-operator kata >>>\n',
  ],
  ...[
    '# <<< kata-operator kata <<<\n',
    ...OUR_LINES.map((line) => `${line}\n`),
    OUR_LINES.join('\n'),
  ],
];

/** Lines that somebody writes above and below the block afterwards. */
const lines = fc.array(
  fc.constantFrom(
    '# mine',
    '',
    '  ',
    'mine = 1',
    '[mine]',
    '[[list]]',
    '[plugins]',
    'x = """',
    '"""',
  ),
  { maxLength: 3 },
);

export const tomlTarget = fuzzTarget(
  'toml',
  fc.record({ bytes: damaged(texts, PIECES), above: lines, below: lines, place: fc.nat() }),
  ({ bytes, above, below, place }) => {
    const text = unlessRefused(TOML_FILE, () => decodeToml(bytes, TOML_FILE));
    if (text === undefined) return 'not UTF-8';
    assert.ok(Buffer.from(text, 'utf8').equals(bytes), 'the text is not the bytes');
    checkLayout(text);
    unlessRefused(TOML_FILE, () => uninstall(text));
    const installed = unlessRefused(TOML_FILE, () => install(text));
    if (installed === undefined) return isToml(text) ? 'conflict' : 'invalid';
    // What is damaged may hold a block of ours already, and it may be whole.
    const isNew = findBlock(text, OWNER, TOML_FILE) === undefined;
    const before = isNew ? text : uninstall(text);
    if (isNew) assert.ok(installed.startsWith(text), 'a character outside the block changed');
    checkInstalled(before, installed);
    return !isNew
      ? 'kept, with a block of ours'
      : checkEdited(before, installed, { above, below, place });
  },
);

/** Statements, each on a line of its own, say what the document says. */
function checkLayout(text: string): void {
  const statements = statementsOf(text);
  if (!isToml(text)) return;
  const again = statements.map(({ start, end }) => text.slice(start, end)).join('\n');
  assert.deepEqual(parseToml(again, TOML_FILE), parseToml(text, TOML_FILE), 'statements differ');
  for (const { kind, path } of statements.filter(
    () => !statements.some((s) => s.kind === 'arrayOfTables'),
  ))
    assert.notEqual(valueAt(parseToml(text, TOML_FILE), path), undefined, `${kind} ${path.join()}`);
}

function checkInstalled(before: string, installed: string): void {
  assert.equal(uninstall(installed), before, 'not the text that was there');
  assert.equal(install(installed), installed, 'a second time changes something');
  const value = parseToml(installed, TOML_FILE);
  assert.ok(contains(value, parseToml(before, TOML_FILE)), 'a value is gone');
  assert.deepEqual(countValues(value) - countValues(parseToml(before, TOML_FILE)), 5);
  assert.equal(tableAt(value, [...RUNTIMES, 'kata-fc', 'options'])?.['n'], 3n);
  const changed = install(installed, CHANGED);
  assert.equal(uninstall(changed), before, 'an update changed more than the block');
  assert.equal(install(changed), installed, 'an update cannot be taken back');
}

function countValues(table: TomlTable): number {
  return Object.values(table).reduce<number>((sum, value) => {
    const inner = typeof value === 'object' && !Array.isArray(value) && !(value instanceof Date);
    return sum + (inner ? countValues(value as TomlTable) : 1);
  }, 0);
}

/** What others wrote above and below stays as they wrote it, or the block is left alone. */
function checkEdited(
  before: string,
  installed: string,
  { above, below, place }: { above: readonly string[]; below: readonly string[]; place: number },
): string {
  const newline = installed.includes('\r\n') ? '\r\n' : '\n';
  const starts = [0, ...[...before.matchAll(/\n/g)].map(({ index }) => index + 1)];
  const at = Math.max(before.startsWith('\uFEFF') ? 1 : 0, starts[place % starts.length] ?? 0);
  const inserted = above.map((line) => line + newline).join('');
  const appended = below.map((line) => line + newline).join('');
  const edited = installed.slice(0, at) + inserted + installed.slice(at) + appended;
  const block = findBlock(edited, OWNER, TOML_FILE);
  assert.ok(block !== undefined);
  const rest = edited.slice(block.end);
  const wanted =
    rest === ''
      ? before.slice(0, at) + inserted + before.slice(at)
      : edited.slice(0, block.start) + rest;
  const result = unlessRefused(TOML_FILE, () => uninstall(edited));
  if (result === undefined) return 'kept, and the edited block left alone';
  assert.equal(result, wanted, 'a line of somebody else changed');
  if (isToml(edited))
    assert.ok(contains(parseToml(edited, TOML_FILE), parseToml(result, TOML_FILE)));
  const updated = unlessRefused(TOML_FILE, () => install(edited, CHANGED));
  if (updated !== undefined) assert.equal(uninstall(updated), wanted);
  return 'kept';
}
