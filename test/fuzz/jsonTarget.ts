/** daemon.json in any text at all: it is refused, or our runtimes come and go and nothing else changes. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  type DockerRuntimes,
  whatIsMissing,
  withoutRuntimes,
  withRuntimes,
} from '../../src/node/json/daemonJson.ts';
import { decodeJson, parseJson } from '../../src/node/json/scan.ts';
import { jsonDocument } from './jsonDocument.ts';
import { damaged } from './mutate.ts';
import { SECRET, unlessRefused } from './refusal.ts';
import { fuzzTarget } from './target.ts';

const FILE = '/etc/docker/daemon.json';
const FIRST: DockerRuntimes = {
  'kata-fc': { runtimeType: 'io.containerd.kata.v2', options: { ConfigPath: '/opt/"\u007F' } },
  'kata-qemu': { path: '/opt/kata/bin/kata', runtimeArgs: ['--a', ''] },
};
const SECOND: DockerRuntimes = { 'kata-qemu': { path: '/other' }, 'kata-clh': { path: '/new' } };
const OWN = ['kata-fc', 'kata-qemu', 'kata-clh'];

const TYPICAL = `{
    "exec-opts": ["native.cgroupdriver=systemd"],
    "proxies": { "http-proxy": "http://me:${SECRET}@proxy.example:3128" },
    "default-shm-size": 67108864,
    "runtimes": {
        "nvidia": { "path": "nvidia-container-runtime", "args": [] }
    },
    "log-opts": {}
}
`;
const texts = fc.oneof(
  { weight: 3, arbitrary: jsonDocument },
  { weight: 2, arbitrary: fc.constantFrom(TYPICAL, JSON.stringify(JSON.parse(TYPICAL))) },
  { weight: 1, arbitrary: fc.constantFrom('', '\n', '{}', '\uFEFF', '[]', 'null') },
);
const PIECES = [
  ...[
    '"',
    '\\',
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '\n',
    '\r\n',
    '\r',
    '\t',
    ' ',
    '\0',
    '\uFEFF',
    '\u2028',
  ],
  ...[
    '//',
    '/*',
    '*/',
    '#',
    "'",
    '\\u',
    '\\ud800',
    'e',
    '-',
    '.',
    '0',
    '1e',
    'true',
    'null',
    'NaN',
  ],
  ...[
    '"runtimes":{},',
    '"runtimes":[],',
    '"runtimes":{"kata-fc":{}},',
    '"kata-qemu":{"path":"/q"},',
  ],
  ...[
    '"default-runtime":"kata-fc",',
    '"Runtimes":{},',
    '"__proto__":{"a":1},',
    '{}',
    '{"a":1}',
    ',,',
  ],
];

export const jsonTarget = fuzzTarget(
  'json',
  fc.record({ bytes: damaged(texts, PIECES), next: fc.boolean() }),
  ({ bytes, next }) => {
    const text = unlessRefused(FILE, () => decodeJson(bytes, FILE));
    if (text === undefined) return 'not UTF-8';
    assert.ok(Buffer.from(text, 'utf8').equals(bytes), 'the text is not the bytes');
    checkStrictness(text);
    unlessRefused(FILE, () => withoutRuntimes(text, OWN, { document: true, runtimes: true }, FILE));
    const installed = unlessRefused(FILE, () => withRuntimes(text, FIRST, [], FILE));
    if (installed === undefined)
      return unlessRefused(FILE, () => parseJson(text, FILE)) === undefined
        ? 'invalid'
        : 'conflict';
    checkInstalled(text, installed, next);
    return 'kept';
  },
);

/** What we take, JavaScript's parser takes. What it takes and we do not has a key twice, or is deeply nested. */
function checkStrictness(text: string): void {
  const body = text.replace(/^\uFEFF/, '');
  const ours = unlessRefused(FILE, () => parseJson(text, FILE));
  let theirs: unknown;
  try {
    theirs = { value: JSON.parse(body) as unknown };
  } catch {
    theirs = undefined;
  }
  if (ours !== undefined) assert.notEqual(theirs, undefined, 'taken although it is no JSON');
  if (ours === undefined && theirs !== undefined)
    assert.throws(() => parseJson(text, FILE), /is there twice|nested deeper/);
}

function checkInstalled(text: string, installed: string, next: boolean): void {
  const made = whatIsMissing(text, FILE);
  const own = Object.keys(FIRST);
  assert.equal(
    withRuntimes(installed, FIRST, own, FILE),
    installed,
    'a second time changes something',
  );
  const before = valueOf(text);
  const runtimes = Object.hasOwn(before, 'runtimes') ? (before['runtimes'] as object) : {};
  const expected = { ...before, runtimes: { ...runtimes, ...FIRST } };
  assert.deepEqual(valueOf(installed), expected, 'it does not say what it should');
  const last = next
    ? unlessRefused(FILE, () => withRuntimes(installed, SECOND, own, FILE))
    : installed;
  const removed = unlessRefused(FILE, () => withoutRuntimes(last ?? installed, OWN, made, FILE));
  // Only the default runtime can be in the way: dockerd would not start without it.
  if (removed === undefined) assert.ok(OWN.includes(String(before['default-runtime'])));
  else assert.equal(removed, text, 'not the text that was there');
}

function valueOf(text: string): Record<string, unknown> {
  const body = text.replace(/^\uFEFF/, '');
  return body.trim() === '' ? {} : (JSON.parse(body) as Record<string, unknown>);
}
