/**
 * One value, written down in one of the many ways that TOML has for it: headers, inline tables, dotted keys,
 * quoted keys, arrays of tables, comments, white space, line ends.
 *
 * Documents are valid by construction and come with what they mean, so that a parser and a layout can be judged.
 */
import fc from 'fast-check';

export type Value =
  | { readonly kind: 'scalar'; readonly literal: string }
  | { readonly kind: 'list'; readonly items: readonly Value[] }
  | { readonly kind: 'table'; readonly entries: readonly (readonly [string, Value])[] }
  | { readonly kind: 'tables'; readonly items: readonly Table[] };
export type Table = Extract<Value, { kind: 'table' }>;

export interface TomlDocument {
  readonly text: string;
  readonly root: Table;
  /** Paths of the tables that have no header of their own: closed, or by dotted keys. */
  readonly headless: readonly (readonly string[])[];
}

const scalar = fc
  .constantFrom(
    ...['0', '-17', '0xdead_beef', '9_000', '9223372036854775807', '1e300', '-0.0', 'nan', 'true'],
    ...['1979-05-27T07:32:00Z', '1979-05-27 07:32:00.5', '07:32:00', '"# no comment"', "'[x]'"],
    ...[
      '"a\\"b\\\\"',
      '"\\u00e9"',
      '"""\n[plugins]\nversion = 1\n"""',
      "'''\n# >>> x\n'''",
      '""""a"""""',
    ],
    ...["''", '""', '"= {"', '"]]"', "'''a''b'''", '"""a\\\n   b"""', '"plugins"'],
  )
  .map((literal): Value => ({ kind: 'scalar', literal }));
const key = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      ...['plugins', 'io.containerd.grpc.v1.cri', 'containerd', 'runtimes', 'runc', 'options'],
    ),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      'a',
      'b',
      '1',
      '',
      'a.b',
      '#',
      'é',
      '"',
      "'",
      '\\',
      '=',
      '[',
      '__proto__',
    ),
  },
);

const { table } = fc.letrec<{ table: Table; value: Value }>((tie) => ({
  table: fc
    .uniqueArray(fc.tuple(key, tie('value')), { maxLength: 4, selector: ([name]) => name })
    .map((entries): Table => ({ kind: 'table', entries })),
  value: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'toml', withCrossShrink: true },
    { weight: 3, arbitrary: scalar },
    { weight: 3, arbitrary: tie('table') },
    {
      weight: 1,
      arbitrary: fc
        .array(tie('value'), { maxLength: 3 })
        .map((items): Value => ({ kind: 'list', items })),
    },
    {
      weight: 1,
      arbitrary: fc
        .array(tie('table'), { minLength: 1, maxLength: 2 })
        .map((items): Value => ({ kind: 'tables', items })),
    },
  ),
}));

/** Choices from a seed: a layout needs many, and each of them alone says nothing. */
type Choose = (count: number) => number;

function choices(seed: number): Choose {
  let state = seed >>> 0;
  return (count) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % count;
  };
}

/** Writes the value down. Lines of a section, then the sections below it: a key after a header would be in its table. */
class Writer {
  readonly headless: (readonly string[])[] = [];
  readonly #choose: Choose;

  constructor(choose: Choose) {
    this.#choose = choose;
  }

  /** Lines of the table itself, and of everything below it that gets a header. */
  section(path: readonly string[], { entries }: Table): string[] {
    const own: string[] = [];
    const below: string[][] = [];
    for (const [name, value] of entries) {
      const at = [...path, name];
      if (value.kind === 'table' && this.#choose(3) > 0) below.push(this.#headed(at, value));
      else if (value.kind === 'tables' && this.#choose(4) > 0)
        below.push(
          value.items.flatMap((item) => [
            this.#noise(`[[${this.#path(at)}]]`),
            ...this.section(at, item),
          ]),
        );
      else own.push(...this.#pair([name], at, value));
    }
    return [...own, ...below.flat()];
  }

  #headed(path: readonly string[], value: Table): string[] {
    return [this.#noise(`[${this.#path(path)}]`), ...this.section(path, value)];
  }

  /** `a.b = 1`: a table may be spread over several lines, or be inline. */
  #pair(keys: readonly string[], path: readonly string[], value: Value): string[] {
    if (value.kind === 'table') {
      this.headless.push(path);
      if (value.entries.length > 0 && this.#choose(2) === 0)
        return value.entries.flatMap(([name, inner]) =>
          this.#pair([...keys, name], [...path, name], inner),
        );
    }
    return [
      this.#noise(`${this.#path(keys)}${this.#space()}=${this.#space()}${this.#inline(value)}`),
    ];
  }

  #inline(value: Value): string {
    if (value.kind === 'scalar') return value.literal;
    if (value.kind === 'table') {
      const entries = value.entries.map(
        ([name, inner]) =>
          `${this.#space()}${this.#key(name)} =${this.#space()}${this.#inline(inner)}`,
      );
      return `{${entries.join(',')}${this.#space()}}`;
    }
    const gap = (): string => ['', ' ', '\n', ' # ]\n\t', '\n\n'][this.#choose(5)] ?? '';
    const items = value.items.map((item) => `${gap()}${this.#inline(item)}${gap()}`);
    const comma = items.length > 0 && this.#choose(2) === 0 ? `,${gap()}` : '';
    return `[${items.join(',')}${comma}${items.length === 0 ? gap() : ''}]`;
  }

  #path(keys: readonly string[]): string {
    return keys.map((name) => this.#key(name)).join(this.#choose(6) === 0 ? ' . ' : '.');
  }

  #key(name: string): string {
    const bare = /^[A-Za-z0-9_-]+$/.test(name);
    if (bare && this.#choose(4) > 0) return name;
    if (!name.includes("'") && this.#choose(2) === 0) return `'${name}'`;
    const quoted = JSON.stringify(name);
    return this.#choose(3) === 0
      ? quoted.replace('a', '\\u0061').replace('.', '\\U0000002e')
      : quoted;
  }

  #space(): string {
    return ['', ' ', '\t', '   '][this.#choose(4)] ?? '';
  }

  /** The line, perhaps indented, commented, or after others that say nothing. */
  #noise(line: string): string {
    const before = ['', '', '', '# [plugins]\n', '\n', ' \t\n', '#\n'][this.#choose(7)] ?? '';
    const after = ['', '', '', ' # why', '\t#]', '  '][this.#choose(6)] ?? '';
    return before + this.#space() + line + after;
  }
}

/** Documents that mean this, or any value. */
export function tomlDocuments(roots: fc.Arbitrary<Table>): fc.Arbitrary<TomlDocument> {
  return fc
    .record({
      root: roots,
      seed: fc.nat(),
      crlf: fc.boolean(),
      byteOrderMark: fc.boolean(),
      end: fc.constantFrom('', '\n', '\n\n', '\n# the end', '\n# '),
    })
    .map(({ root, seed, crlf, byteOrderMark, end }) => {
      const writer = new Writer(choices(seed));
      const body = writer.section([], root).join('\n') + end;
      return {
        text: (byteOrderMark ? '\uFEFF' : '') + (crlf ? body.replaceAll('\n', '\r\n') : body),
        root,
        headless: writer.headless,
      };
    });
}

export const anyTable: fc.Arbitrary<Table> = table;

export const tomlDocument = tomlDocuments(table);
