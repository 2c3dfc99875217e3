import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type DockerRuntimes,
  type Made,
  whatIsMissing,
  withoutRuntimes,
  withRuntimes,
} from '../../../../src/node/json/daemonJson.ts';
import { decodeJson } from '../../../../src/node/json/scan.ts';
import { jsonDocument } from '../../../fuzz/jsonDocument.ts';

const FILE = '/etc/docker/daemon.json';
const shim = (handler: string): DockerRuntimes[string] => ({
  runtimeType: '/opt/kata/versions/0123/bin/containerd-shim-kata-v2',
  options: { ConfigPath: `/opt/kata/revisions/r1/${handler}/configuration.toml` },
});
const TWO: DockerRuntimes = { 'kata-fc': shim('kata-fc'), 'kata-qemu': shim('kata-qemu') };
const OWN = Object.keys(TWO);
const install = (text: string, wanted = TWO, own: readonly string[] = []): string =>
  withRuntimes(text, wanted, own, FILE);
const uninstall = (text: string, made: Made, own = OWN): string =>
  withoutRuntimes(text, own, made, FILE);
const NOTHING: Made = { document: false, runtimes: false };

/** What the document says, by a parser that is not ours. */
function valueOf(text: string): Record<string, unknown> {
  const body = text.replace(/^\uFEFF/, '');
  return body.trim() === '' ? {} : (JSON.parse(body) as Record<string, unknown>);
}

/** What is refused is looked at in tests of its own. */
const editable = jsonDocument.filter((text) => {
  const value = valueOf(text);
  const runtimes = Object.hasOwn(value, 'runtimes') ? value['runtimes'] : {};
  return typeof runtimes === 'object' && runtimes !== null && !Array.isArray(runtimes);
});

const small: DockerRuntimes = { kata: { path: '/k' } };

const layouts: { name: string; before: string; after: string }[] = [
  {
    name: 'no file',
    before: '',
    after: '{\n  "runtimes": {\n    "kata": {\n      "path": "/k"\n    }\n  }\n}\n',
  },
  {
    name: 'an empty object',
    before: '{}',
    after: '{\n  "runtimes": {\n    "kata": {\n      "path": "/k"\n    }\n  }\n}',
  },
  {
    name: 'one line',
    before: '{"debug":true}',
    after: '{"debug":true,"runtimes":{"kata":{"path":"/k"}}}',
  },
  {
    name: 'one line with spaces',
    before: '{ "debug": true }\n',
    after: '{ "debug": true, "runtimes": {"kata": {"path": "/k"}} }\n',
  },
  {
    name: 'tabs, CRLF and a byte order mark',
    before: '\uFEFF{\r\n\t"mtu": 1450\r\n}\r\n',
    after:
      '\uFEFF{\r\n\t"mtu": 1450,\r\n\t"runtimes": {\r\n\t\t"kata": {\r\n\t\t\t"path": "/k"\r\n\t\t}\r\n\t}\r\n}\r\n',
  },
  {
    name: 'four spaces and other runtimes that are not the last member',
    before: '{\n    "runtimes": {\n        "nvidia": {"path": "/n"}\n    },\n    "mtu": 1e400\n}',
    after:
      '{\n    "runtimes": {\n        "nvidia": {"path": "/n"},\n        "kata": {\n            "path": "/k"\n        }\n    },\n    "mtu": 1e400\n}',
  },
  {
    name: 'an empty "runtimes"',
    before: '{\n  "runtimes": {},\n  "n": 123456789012345678901234567890\n}\n',
    after:
      '{\n  "runtimes": {\n    "kata": {\n      "path": "/k"\n    }\n  },\n  "n": 123456789012345678901234567890\n}\n',
  },
  {
    name: 'an empty "runtimes" over two lines, in a document on one',
    before: '{"runtimes":{\n}}',
    after: '{"runtimes":{\n"kata":{"path":"/k"}}}',
  },
  {
    name: 'an empty object with a lone CR in it',
    before: '{ \r}',
    after: '{ \r\n  "runtimes": {\n    "kata": {\n      "path": "/k"\n    }\n  }\n}',
  },
  {
    name: 'a comma before each line',
    before: '{ "a": 1\n, "b": 2\n}',
    after: '{ "a": 1\n, "b": 2, "runtimes": {"kata": {"path": "/k"}}\n}',
  },
];

describe('a runtime is added in the style of the file, and its removal gives the bytes back', () => {
  test.for(layouts)('$name', ({ before, after }) => {
    const made = whatIsMissing(before, FILE);
    expect(install(before, small)).toBe(after);
    expect(uninstall(after, made, ['kata'])).toBe(before);
  });

  test('in any document', () => {
    fc.assert(
      fc.property(editable, (text) => {
        const made = whatIsMissing(text, FILE);
        const installed = install(text);
        expect(uninstall(installed, made)).toBe(text);
        expect(uninstall(uninstall(installed, made, ['kata-fc']), made, ['kata-qemu'])).toBe(text);
      }),
      { numRuns: 500 },
    );
  });

  test('which says what it said, and our runtimes', () => {
    fc.assert(
      fc.property(editable, (text) => {
        const before = valueOf(text);
        const runtimes = Object.hasOwn(before, 'runtimes') ? (before['runtimes'] as object) : {};
        expect(valueOf(install(text))).toEqual({
          ...before,
          runtimes: { ...runtimes, ...TWO },
        });
      }),
      { numRuns: 300 },
    );
  });

  test('twice is the same as once', () => {
    fc.assert(
      fc.property(editable, (text) => {
        expect(install(install(text), TWO, OWN)).toBe(install(text));
      }),
      { numRuns: 200 },
    );
  });

  test('with other runtimes of ours than before, only they change', () => {
    fc.assert(
      fc.property(editable, (text) => {
        const made = whatIsMissing(text, FILE);
        const changed = { 'kata-qemu': { path: '/other' }, 'kata-clh': shim('kata-clh') };
        const after = install(install(text), changed, OWN);
        expect(after).not.toContain('kata-fc');
        expect(after).toContain('/other');
        expect(uninstall(after, made, [...OWN, 'kata-clh'])).toBe(text);
      }),
      { numRuns: 200 },
    );
  });
});

test('what others added since stays, also in what was made for ours', () => {
  const installed = install('', small);
  const edited = installed.replace('"runtimes"', '"mtu": 1450,\n  "runtimes"');
  expect(uninstall(edited, { document: true, runtimes: true }, ['kata'])).toBe(
    '{\n  "mtu": 1450\n}\n',
  );
  const other = installed.replace('"kata"', '"crun": {\n      "path": "/c"\n    },\n    "kata"');
  expect(uninstall(other, { document: true, runtimes: true }, ['kata'])).toBe(
    '{\n  "runtimes": {\n    "crun": {\n      "path": "/c"\n    }\n  }\n}\n',
  );
});

test('a file that somebody formatted anew gives our runtimes back and nothing else', () => {
  const minified = JSON.stringify(
    JSON.parse(install('{"mtu": 1, "runtimes": {"crun": {"path": "/c"}}}')),
  );
  expect(uninstall(minified, NOTHING)).toBe('{"mtu":1,"runtimes":{"crun":{"path":"/c"}}}');
  expect(install(minified, TWO, OWN)).toBe(minified);
});

test('removing what is not there changes nothing', () => {
  for (const text of ['', '\n', '{}', '{"runtimes":{}}', '{ "mtu": 1 }\n'])
    expect(uninstall(text, NOTHING)).toBe(text);
});

const refused: { name: string; text: string; says: string }[] = [
  {
    name: 'a line comment',
    text: '{\n  // why\n  "mtu": 1\n}',
    says: 'does not parse: line 2: JSON has no comments',
  },
  {
    name: 'a block comment',
    text: '{}\n/* why */',
    says: 'does not parse: line 2: JSON has no comments',
  },
  {
    name: 'a comment of a shell',
    text: '{ "mtu": 1 # why\n}',
    says: 'line 1: JSON has no comments',
  },
  {
    name: 'a key twice',
    text: '{\n"mtu": 1,\n"mtu": 2\n}',
    says: 'line 3: the key "mtu" is there twice',
  },
  {
    name: 'a key twice, once escaped',
    text: '{"a":1,"\\u0061":2}',
    says: 'line 1: the key "a" is there twice',
  },
  {
    name: 'a key twice further down',
    text: '{"x": [{"a":1,\n"a":1}]}',
    says: 'line 2: the key "a" is there twice',
  },
  {
    name: 'a comma too many',
    text: '{\n"mtu": 1,\n}',
    says: 'line 3: nothing follows the last comma',
  },
  {
    name: 'a comma too few',
    text: '{"a": 1\n"b": 2}',
    says: 'line 2: a comma or } is missing here or above',
  },
  { name: 'two documents', text: '{}\n{}', says: 'line 2: there is something after the document' },
  { name: 'NUL at the end', text: '{}\0', says: 'line 1: there is something after the document' },
  { name: 'single quotes', text: "{'a': 1}", says: 'line 1: a key in double quotes is missing' },
  {
    name: 'a string over two lines',
    text: '{"a": "hunter2\n"}',
    says: 'line 1: a string has no end',
  },
  {
    name: 'a number with a zero in front',
    text: '{"a":\n01}',
    says: 'line 2: this is no value of JSON',
  },
  { name: 'a half document', text: '{"a":\n', says: 'line 2: it ends too early' },
  { name: 'NaN', text: '{"a": NaN}', says: 'line 1: this is no value of JSON' },
  { name: 'a list', text: '\n[]', says: 'line 2: the document is not an object' },
  {
    name: 'runtimes that are no object',
    text: '{\n"runtimes": []}',
    says: 'line 2: "runtimes" is not an object',
  },
  {
    name: 'runtimes that are null',
    text: '{"runtimes": null}',
    says: 'line 1: "runtimes" is not an object',
  },
  {
    name: 'a runtime of that name',
    text: '{"runtimes": {\n"kata-fc": {"path": "/usr/bin/kata-runtime"}}}',
    says: 'line 2: runtime "kata-fc" is already defined and not by kata-operator; remove it',
  },
  {
    name: 'brackets without an end',
    text: '['.repeat(100_000),
    says: 'line 1: it is nested deeper than 200 levels',
  },
];

describe('a file is refused, with its line and without quoting it', () => {
  test.for(refused)('$name', ({ text, says }) => {
    expect(() => install(text)).toThrow(says);
    expect(() => install(text)).toThrow(FILE);
    expect(() => install(text)).not.toThrow(/hunter2/);
  });

  test('bytes that are not UTF-8', () => {
    expect(() => decodeJson(Buffer.from('{\n"a": "\xe9"}', 'latin1'), FILE)).toThrow(
      'line 2: it is not UTF-8',
    );
    expect(() => decodeJson(Buffer.from('\uFEFF{}', 'utf16le'), FILE)).toThrow(
      'line 1: it is not UTF-8',
    );
  });

  test('the name that dockerd keeps for itself', () => {
    expect(() => install('{}', { runc: { path: '/x' } })).toThrow(/"runc" is reserved/);
  });

  test('the removal of the default runtime', () => {
    const text = install('{"default-runtime": "kata-fc"}');
    expect(() => uninstall(text, NOTHING)).toThrow('line 1: "default-runtime" is "kata-fc"');
    expect(() => install(text, small, OWN)).toThrow('"default-runtime" is "kata-fc"');
  });
});

test('a file of 10 MB is edited within seconds', () => {
  const labels = Array.from(
    { length: 120_000 },
    (_, index) => `    "label-${index}=${'x'.repeat(80)}"`,
  );
  const huge = `{\n  "labels": [\n${labels.join(',\n')}\n  ]\n}\n`;
  expect(huge.length).toBeGreaterThan(10_000_000);
  const startedMs = performance.now();
  expect(uninstall(install(huge), { document: false, runtimes: true })).toBe(huge);
  expect(performance.now() - startedMs).toBeLessThan(10_000);
});
