/** Configurations in JSON as people and programs leave them: any order, indentation, line end, numbers of any size. */
import fc from 'fast-check';

/** A value as its own text, so that a number keeps every digit. */
const key = fc.oneof(
  fc.constantFrom(
    '"debug"',
    '"log-opts"',
    '"runtimes"',
    '"runc"',
    '"__proto__"',
    '""',
    '"\\u0061"',
  ),
  fc.string({ maxLength: 6, unit: 'binary' }).map((text) => JSON.stringify(text)),
);
const scalar = fc.oneof(
  fc.constantFrom('true', 'false', 'null', '0', '-0', '1.50', '1E400', '12345678901234567890123'),
  fc.integer().map(String),
  fc.string({ maxLength: 10, unit: 'binary' }).map((text) => JSON.stringify(text)),
  fc.constantFrom(
    '"a // no comment"',
    '"\\/\\ud83d\\ude00\\ud800"',
    '"{\\"runtimes\\": {}}"',
    '"é\u2028"',
  ),
);
const space = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('', ' ') },
  { weight: 1, arbitrary: fc.constantFrom('\n', '\t', '\n\n  ', '  ', '\n\t') },
);

type Shape = { lead: string; comma: string; colon: string; value: string; key: string };

/** Any text between brackets that the grammar allows. */
function joined(parts: readonly Shape[], empty: string, last: string, keyed: boolean): string {
  const entries = parts.map(
    (part) => `${part.lead}${keyed ? `${part.key}${part.comma}:${part.colon}` : ''}${part.value}`,
  );
  return entries.length === 0 ? empty : entries.join(',') + last;
}

function container(value: fc.Arbitrary<string>, keyed: boolean): fc.Arbitrary<string> {
  const part = fc.record({ lead: space, comma: space, colon: space, value, key });
  return fc
    .tuple(
      keyed
        ? fc.uniqueArray(part, { maxLength: 4, selector: (shape) => String(JSON.parse(shape.key)) })
        : fc.array(part, { maxLength: 3 }),
      space,
      space,
    )
    .map(([parts, empty, last]) => {
      const inside = joined(parts, empty, last, keyed);
      return keyed ? `{${inside}}` : `[${inside}]`;
    });
}

const wild = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthIdentifier: 'json' },
    scalar,
    container(tie('value'), true),
    container(tie('value'), false),
  ),
})).value;

const INDENTS = ['  ', '    ', '\t', ' ', ''];
const neatValue = fc.oneof(
  scalar.map((text): unknown => (/^[[{"tfn]/.test(text) ? JSON.parse(text) : 7)),
  fc.dictionary(fc.string({ maxLength: 5 }), fc.constantFrom('x', 1, true), { maxKeys: 2 }),
  fc.array(fc.constantFrom('a', 'b', 3), { maxLength: 2 }),
);
const runtimes = fc.dictionary(
  fc.constantFrom('nvidia', 'crun', 'kata-runtime', 'youki'),
  fc.constant({ path: '/usr/bin/x', runtimeArgs: [] }),
  { maxKeys: 2 },
);
/** As programs print it. */
const neat = fc
  .tuple(
    fc.dictionary(fc.constantFrom('debug', 'hosts', 'proxies', 'mtu'), neatValue, { maxKeys: 3 }),
    fc.option(runtimes, { nil: undefined }),
    fc.constantFrom(...INDENTS),
    fc.constantFrom('', '\n', '\n\n'),
    fc.boolean(),
  )
  .map(([rest, own, indent, end, first]) => {
    const added = own === undefined ? {} : { runtimes: own };
    return (
      JSON.stringify(first ? { ...added, ...rest } : { ...rest, ...added }, null, indent) + end
    );
  });
const blank = fc.constantFrom(
  '',
  '\n',
  '  ',
  '\n \n',
  '{}',
  '{ }',
  '{\n}\n',
  ' {}',
  '{"runtimes":{}}',
  '{"runtimes":\n{ }}',
);

/** Valid documents whose root is an object, or blank. */
export const jsonDocument = fc
  .record({
    body: fc.oneof(
      { weight: 4, arbitrary: neat },
      {
        weight: 2,
        arbitrary: fc.tuple(space, container(wild, true), space).map((parts) => parts.join('')),
      },
      { weight: 1, arbitrary: blank },
    ),
    crlf: fc.boolean(),
    byteOrderMark: fc.boolean(),
  })
  .map(
    ({ body, crlf, byteOrderMark }) =>
      (byteOrderMark ? '\uFEFF' : '') + (crlf ? body.replaceAll('\n', '\r\n') : body),
  );
