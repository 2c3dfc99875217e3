import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KataError } from '../../../../src/errors.ts';
import { findBlock, withBlock } from '../../../../src/node/toml/block.ts';
import { decodeToml, isToml, parseToml, tableAt } from '../../../../src/node/toml/document.ts';
import { extendDocument, reduceDocument } from '../../../../src/node/toml/extend.ts';
import type { BlockTable } from '../../../../src/node/toml/render.ts';
import { document } from './arbitrary.ts';

const FILE = '/etc/containerd/config.toml';
const OWNER = 'kata';
const runtimes = ['plugins', 'io.containerd.grpc.v1.cri', 'containerd', 'runtimes'];
const TABLES: readonly BlockTable[] = [
  {
    path: [...runtimes, 'kata-fc'],
    entries: {
      runtime_type: 'io.containerd.kata.v2',
      pod_annotations: ['a', 'b'],
      privileged: true,
    },
  },
  {
    path: [...runtimes, 'kata-fc', 'options'],
    entries: { ConfigPath: '/opt/kata/"odd"\u007F\\path', n: 3 },
  },
];
const install = (text: string, tables = TABLES): string =>
  extendDocument(text, OWNER, tables, ['# ours'], FILE);
const uninstall = (text: string): string => reduceDocument(text, OWNER, FILE);

/** Documents that are valid and can be extended; what is refused is looked at in tests of its own. */
const extendable = document.filter((text) => {
  if (!isToml(text)) return false;
  try {
    install(text);
    return true;
  } catch {
    return false;
  }
});

describe('a managed block', () => {
  test('taken out again, leaves the very text that was there', () => {
    fc.assert(
      fc.property(extendable, (text) => {
        expect(uninstall(install(text))).toBe(text);
      }),
      { numRuns: 300 },
    );
  });

  test('is added after the text, of which every character stays', () => {
    fc.assert(
      fc.property(extendable, (text) => {
        expect(install(text).startsWith(text)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  test('is the same when it is installed twice', () => {
    fc.assert(
      fc.property(extendable, (text) => {
        expect(install(install(text))).toBe(install(text));
      }),
      { numRuns: 200 },
    );
  });

  test('adds exactly its tables to the value of the document', () => {
    fc.assert(
      fc.property(extendable, (text) => {
        const added = tableAt(parseToml(install(text), FILE), [...runtimes, 'kata-fc']);
        expect(added?.['runtime_type']).toBe('io.containerd.kata.v2');
        expect(
          tableAt(parseToml(install(text), FILE), [...runtimes, 'kata-fc', 'options']),
        ).toEqual({ ConfigPath: '/opt/kata/"odd"\u007F\\path', n: 3n });
      }),
      { numRuns: 100 },
    );
  });

  test('is changed in its place, between what stands above and below', () => {
    const below = '# below\n[debug]\nlevel = "info"\n';
    const changed: BlockTable[] = [
      { path: [...runtimes, 'kata-clh'], entries: { runtime_type: 'x' } },
    ];
    fc.assert(
      fc.property(extendable, (text) => {
        const whole = install(text) + below;
        fc.pre(isToml(whole));
        const after = install(whole, changed);
        expect(after.startsWith(text)).toBe(true);
        expect(after.endsWith(below)).toBe(true);
        expect(tableAt(parseToml(after, FILE), runtimes)).not.toHaveProperty('kata-fc');
      }),
      { numRuns: 100 },
    );
  });

  test('ends its lines as the file does', () => {
    expect(install('version = 2\r\n').replaceAll('\r\n', '')).not.toContain('\n');
    expect(install('version = 2\n')).not.toContain('\r');
  });

  test('of one owner does not see that of another', () => {
    const both = extendDocument(
      install('version = 2'),
      'other',
      [{ path: ['x'], entries: { y: 1 } }],
      [],
      FILE,
    );
    expect(reduceDocument(both, OWNER, FILE)).not.toContain('kata-fc');
    expect(findBlock(both, 'kat', FILE)).toBeUndefined();
  });
});

const refused: { name: string; text: string; says: RegExp }[] = [
  { name: 'an inline parent', text: 'plugins = { x = 1 }\n', says: /plugins cannot be extended/ },
  {
    name: 'an inline plugin section',
    text: '[plugins]\n"io.containerd.grpc.v1.cri" = { sandbox_image = "x" }\n',
    says: /plugins\."io\.containerd\.grpc\.v1\.cri" cannot be extended/,
  },
  {
    name: 'inline runtimes',
    text: `[plugins."io.containerd.grpc.v1.cri".containerd]\nruntimes = { runc = { a = 1 } }\n`,
    says: /runtimes cannot be extended/,
  },
  {
    name: 'a handler of the same name',
    text: '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-fc]\na = 1\n',
    says: /kata-fc\] is already defined outside/,
  },
  {
    name: 'a handler as dotted keys',
    text: `plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-fc.a = 1\n`,
    says: /kata-fc\] is already defined outside/,
  },
  {
    name: 'an array of tables in the way',
    text: '[[plugins]]\nx = 1\n',
    says: /without changing what is there/,
  },
];

describe('a document that cannot be extended is refused', () => {
  test.for(refused)('$name', ({ text, says }) => {
    expect(() => install(text)).toThrow(KataError);
    expect(() => install(text)).toThrow(says);
  });

  test('with the line when it does not parse, and without quoting it', () => {
    const secret = 'version = 2\npassword = "hunter2\n';
    expect(() => install(secret)).toThrow(/config\.toml does not parse: line 2: /);
    expect(() => install(secret)).not.toThrow(/hunter2/);
  });

  test('when it is not UTF-8', () => {
    expect(() => decodeToml(Buffer.from([0x61, 0xff]), FILE)).toThrow(/not UTF-8/);
  });
});

const whole = install('a = 1\n[b]\nc = 2');
const edits: { name: string; text: string }[] = [
  { name: 'a value inside it was changed', text: whole.replace('kata.v2', 'kata.v3') },
  { name: 'its closing marker is gone', text: whole.replace(/^# <<<.*$/m, '') },
  { name: 'its opening marker is gone', text: whole.replace(/^# >>>.*$/m, '') },
  { name: 'it is there twice', text: whole + whole.slice(whole.indexOf('# >>>')) },
  {
    name: 'its markers changed places',
    text: whole
      .replace('# >>> kata-operator kata >>>', '# swap')
      .replace('# <<< kata-operator kata <<<', '# >>> kata-operator kata >>>')
      .replace('# swap', '# <<< kata-operator kata <<<'),
  },
  {
    name: 'the note about the line end was changed',
    text: whole.replace('added=lf', 'added=none'),
  },
  { name: 'a bare key below it belongs to its last table', text: `${whole}mine = 1\n` },
];

describe('a block that others changed is neither taken out nor written over', () => {
  test.for(edits)('$name', ({ text }) => {
    expect(() => uninstall(text)).toThrow(
      expect.objectContaining({ code: 'KATA_E_CONFIG_EDITED' }),
    );
    expect(() => install(text)).toThrow(expect.objectContaining({ code: 'KATA_E_CONFIG_EDITED' }));
  });
});

test('text below a block keeps its line when the block goes, even if the line above had no end', () => {
  const text = `${install('a = 1')}[x]\n`;
  expect(uninstall(text)).toBe('a = 1\n[x]\n');
});

test('markers inside a line are not markers', () => {
  const text = 'a = "# >>> kata-operator kata >>>"\n';
  expect(withBlock(text, OWNER, ['b = 1'], FILE).startsWith(text)).toBe(true);
  expect(uninstall(install(text))).toBe(text);
});
