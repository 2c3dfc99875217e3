import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KataError } from '../../../../src/errors.ts';
import { findBlock, withBlock } from '../../../../src/node/toml/block.ts';
import { decodeToml, isToml, parseToml, tableAt } from '../../../../src/node/toml/document.ts';
import { extendDocument, reduceDocument } from '../../../../src/node/toml/extend.ts';
import type { BlockTable } from '../../../../src/node/toml/render.ts';
import { tomlLines } from '../../../fuzz/tomlLines.ts';

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
const extendable = tomlLines.filter((text) => {
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

const CRI = '[plugins."io.containerd.grpc.v1.cri"';
const refused: { name: string; text: string; says: string }[] = [
  {
    name: 'an inline parent',
    text: '# first\nplugins = { x = 1 }\n',
    says: 'line 2: plugins cannot be extended by a table of its own; write it as [plugins] and not inline',
  },
  {
    name: 'an inline plugin section',
    text: '[plugins]\n\n"io.containerd.grpc.v1.cri" = { sandbox_image = "x" }\n',
    says: 'line 3: plugins."io.containerd.grpc.v1.cri" cannot be extended',
  },
  {
    name: 'inline runtimes',
    text: `${CRI}.containerd]\nruntimes = { runc = { a = 1 } }\n`,
    says: 'line 2: plugins."io.containerd.grpc.v1.cri".containerd.runtimes cannot be extended',
  },
  {
    name: 'an inline parent behind dotted keys and CRLF',
    text: `a = """\r\nb\r\n"""\r\nplugins."io.containerd.grpc\\u002ev1.cri".containerd = {}\r\n`,
    says: 'line 4: plugins."io.containerd.grpc.v1.cri".containerd cannot be extended',
  },
  {
    name: 'a handler of the same name',
    text: `${CRI}.containerd.runtimes.runc]\na = 1\n${CRI}.containerd.runtimes.kata-fc]\na = 1\n`,
    says: 'line 3: [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-fc] is already defined outside',
  },
  {
    name: 'a handler as dotted keys',
    text: `version = 2\nplugins."io.containerd.grpc.v1.cri".containerd.runtimes.'kata-fc'.a = 1\n`,
    says: 'line 2: [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-fc] is already defined',
  },
  {
    name: 'a handler inside an inline table',
    text: `${CRI}.containerd]\nruntimes = { kata-fc = { a = 1 } }\n`,
    says: 'line 2: [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-fc] is already defined',
  },
  {
    name: 'only the options of a handler',
    text: `${CRI}.containerd.runtimes.kata-fc.options]\n`,
    says: 'line 1: [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-fc] is already defined',
  },
  {
    name: 'an array of tables in the way',
    text: 'x = [\n1]\n[[plugins]]\nx = 1\n',
    says: 'line 3: plugins is an array, and a table of this name is needed',
  },
  {
    name: 'an array in the way',
    text: `${CRI}]\ncontainerd = [ # why\n 1 ]\n`,
    says: 'line 2: plugins."io.containerd.grpc.v1.cri".containerd is an array',
  },
  {
    name: 'a string in the way',
    text: '\n\nplugins = "none"\n',
    says: 'line 3: plugins is a value, and a table of this name is needed',
  },
];
const invalid: { name: string; text: string; line: number }[] = [
  { name: 'a key twice', text: 'version = 2\nversion = 2\n', line: 2 },
  { name: 'a table twice', text: '[debug]\nlevel = 1\n[debug]\n', line: 3 },
  { name: 'a table below an inline table', text: 'a = {}\n\n[a.b]\n', line: 3 },
  { name: 'NUL in a comment', text: 'version = 2\n# \0\n', line: 2 },
  { name: 'NUL in a string', text: 'version = 2\na = "\0"\n', line: 2 },
  { name: 'a line end of a lone CR', text: 'version = 2\na = 1\rb = 2\n', line: 2 },
  { name: 'a byte order mark in the middle', text: 'version = 2\n\uFEFFa = 1\n', line: 2 },
  { name: 'a string without an end', text: 'version = 2\npassword = "hunter2\n', line: 2 },
];

describe('a document that cannot be extended is refused', () => {
  test.for(refused)('with the line of $name', ({ text, says }) => {
    expect(() => install(text)).toThrow(KataError);
    expect(() => install(text)).toThrow(`${FILE}: ${says}`);
  });

  test.for(invalid)('when it does not parse, with the line: $name', ({ text, line }) => {
    expect(() => install(text)).toThrow(
      expect.objectContaining({ code: 'KATA_E_ENGINE_CONFIG_INVALID' }),
    );
    expect(() => install(text)).toThrow(`config.toml does not parse: line ${line}: `);
    expect(() => install(text)).not.toThrow(/hunter2/);
  });

  test('when it is not UTF-8, with the line', () => {
    const latin1 = Buffer.from('version = 2\n# caf\xe9\n', 'latin1');
    expect(() => decodeToml(latin1, FILE)).toThrow('line 2: it is not UTF-8');
    const utf16 = Buffer.from('\uFEFFversion = 2\n', 'utf16le');
    expect(() => decodeToml(utf16, FILE)).toThrow('line 1: it is not UTF-8');
    const cut = Buffer.from('a = 1\n# é').subarray(0, -1);
    expect(() => decodeToml(cut, FILE)).toThrow('line 2: it is not UTF-8');
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
  { name: 'a key below it makes the file invalid', text: `${whole}\n# mine\nn = 4 # again\n` },
  { name: 'it is inside a string', text: `a = """\n${install('').replaceAll('"', "'")}"""\n` },
  { name: 'it is between the elements of a list', text: `a = [\n${install('')}[1]]\n` },
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

describe('a block is taken out', () => {
  test('when the lines above it are gone by now', () => {
    expect(uninstall(whole.slice(whole.indexOf('# >>>')))).toBe('');
    expect(uninstall(`\uFEFF${whole.slice(whole.indexOf('# >>>'))}`)).toBe('\uFEFF');
  });

  test('when the line ends of the whole file were converted', () => {
    const crlf = whole.replaceAll('\n', '\r\n');
    expect(uninstall(crlf)).toBe('a = 1\r\n[b]\r\nc = 2');
    expect(install(crlf)).toBe(crlf);
    expect(uninstall(crlf.replaceAll('\r\n', '\n'))).toBe('a = 1\n[b]\nc = 2');
  });

  test('when somebody wrote its table a second time, which no engine would read', () => {
    const again = `# mine\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata-fc]\n`;
    expect(uninstall(whole + again)).toBe(`a = 1\n[b]\nc = 2\n${again}`);
    expect(() => install(whole + again)).toThrow(/line 5: .* is already defined outside/);
  });
});

test('a file of 10 MB is edited within seconds', () => {
  const table = (index: number): string =>
    `# mirror ${index}\n[plugins."io.containerd.grpc.v1.cri".registry.mirrors."r${index}.example"]\n` +
    `\tendpoint = [ "https://r${index}.example", # first\n\t'https://m.example' ]\n\tcomment = "${'x'.repeat(1_850)}"\n`;
  const huge = `version = 2\n${Array.from({ length: 5_000 }, (_, index) => table(index)).join('')}`;
  expect(huge.length).toBeGreaterThan(10_000_000);
  const startedMs = performance.now();
  const edited = install(huge);
  expect(uninstall(edited)).toBe(huge);
  expect(performance.now() - startedMs).toBeLessThan(10_000);
});

test('markers inside a line are not markers', () => {
  const text = 'a = "# >>> kata-operator kata >>>"\n';
  expect(withBlock(text, OWNER, ['b = 1'], FILE).startsWith(text)).toBe(true);
  expect(uninstall(install(text))).toBe(text);
});
