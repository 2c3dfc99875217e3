/** TOML documents as people leave them: comments, tabs, odd keys, CRLF, a byte order mark, no final newline. */
import fc from 'fast-check';

const bareKey = fc.stringMatching(/^[a-zA-Z0-9_-]{1,8}$/);
const key = fc.oneof(
  bareKey,
  fc.stringMatching(/^[a-z. "é#=[\]-]{0,8}$/).map((text) => JSON.stringify(text)),
  fc.stringMatching(/^[a-z./#]{1,8}$/).map((text) => `'${text}'`),
);
const scalar = fc.oneof(
  fc.integer().map(String),
  fc.constantFrom(
    '0x1F',
    '1_000',
    'true',
    'false',
    '1979-05-27T07:32:00Z',
    '1979-05-27',
    '3.5e2',
    'inf',
    "'C:\\x'",
  ),
  fc.string({ maxLength: 12 }).map((text) => JSON.stringify(text).replaceAll('\u007F', '')),
  fc.constant('"""\n# >>> not a marker >>>\nlines\n"""'),
);
const value = fc.oneof(
  scalar,
  fc
    .array(scalar, { maxLength: 3 })
    .map((items) => `[ # why\n  ${items.map((item) => `${item}, # each\n`).join('')}]`),
  scalar.map((item) => `{ a = ${item.includes('\n') ? '1' : item} }`),
);
const space = fc.constantFrom('', ' ', '\t', '    ');
const comment = fc.constantFrom(
  '',
  ' # a comment',
  '\t# with = signs [and] "quotes"',
  ' # >>> kata-operator other',
);
const line = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(space, key, value, comment)
      .map(([indent, name, what, why]) => `${indent}${name} = ${what}${why}`),
  },
  { weight: 1, arbitrary: fc.constantFrom('', '   ', '# [plugins.commented.out]', '#') },
);
const header = fc.oneof(
  fc.array(key, { minLength: 1, maxLength: 3 }).map((path) => `[${path.join(' . ')}]`),
  fc.array(key, { minLength: 1, maxLength: 2 }).map((path) => `[[${path.join('.')}]]`),
  fc.constantFrom(
    `[plugins."io.containerd.grpc.v1.cri"]`,
    `[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]`,
  ),
);
const section = fc
  .tuple(header, comment, fc.array(line, { maxLength: 4 }))
  .map(([head, why, lines]) => [head + why, ...lines].join('\n'));

/** Many are no valid documents (a key twice): the caller filters. */
export const tomlLines = fc
  .record({
    root: fc.array(line, { maxLength: 4 }),
    sections: fc.array(section, { maxLength: 4 }),
    crlf: fc.boolean(),
    byteOrderMark: fc.boolean(),
    end: fc.constantFrom('', '\n', '\n\n', '\n# the end'),
  })
  .map(({ root, sections, crlf, byteOrderMark, end }) => {
    const body = [...root, ...sections].join('\n') + end;
    return (byteOrderMark ? '\uFEFF' : '') + (crlf ? body.replaceAll('\n', '\r\n') : body);
  });
