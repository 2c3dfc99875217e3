/**
 * Writing the few TOML shapes that a managed block is made of: table headers, strings, booleans, integers
 * and lists of strings. Never used on the text of others.
 */

export type BlockValue = string | boolean | number | readonly string[];

/** One table of the block. An empty path is the root of the document. */
export interface BlockTable {
  readonly path: readonly string[];
  readonly entries: Readonly<Record<string, BlockValue>>;
}

/** Lines of the block, without line ends. */
export function renderTables(tables: readonly BlockTable[]): string[] {
  return tables.flatMap(({ path, entries }) => [
    ...(path.length === 0 ? [] : [`[${renderPath(path)}]`]),
    ...Object.entries(entries).map(([key, value]) => `${renderKey(key)} = ${renderValue(value)}`),
  ]);
}

/** `plugins."io.containerd.grpc.v1.cri".containerd` */
export function renderPath(path: readonly string[]): string {
  return path.map(renderKey).join('.');
}

function renderKey(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : renderString(key);
}

function renderValue(value: BlockValue): string {
  if (typeof value === 'string') return renderString(value);
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'number') return value.toFixed(0);
  return `[${value.map(renderString).join(', ')}]`;
}

/** JSON's escapes are all escapes of TOML's basic strings; TOML wants DEL escaped as well. */
function renderString(value: string): string {
  return JSON.stringify(value.toWellFormed()).replaceAll('\u007F', '\\u007F');
}
