/**
 * What an unpacked tree will hold, entry by entry, and the rules that an entry must keep.
 *
 * Owns the defence against hostile archives: nothing is placed outside the version's directory, through a
 * link, or twice, and nothing but directories, plain files and links is placed at all. It does no I/O: the
 * unpacker does what a `Placement` says and nothing else.
 */
import { posix } from 'node:path';
import { HOST_PATHS } from '../../crds/names.ts';
import { KataError } from '../../errors.ts';

export interface ArchiveEntry {
  readonly name: string;
  /** As tar names it: `file`, `directory`, `symlink`, `link`, … */
  readonly type: string;
  readonly mode: number;
  readonly sizeBytes: number;
  readonly linkname?: string;
}

/** What to do for one entry. Paths are relative to the version's directory. */
export type Placement =
  | { readonly kind: 'nothing' }
  | {
      readonly kind: 'directory';
      readonly path: string;
      readonly missingParents: readonly string[];
    }
  | (Placed & { readonly kind: 'file'; readonly mode: number })
  | (Placed & { readonly kind: 'symlink'; readonly target: string })
  | (Placed & { readonly kind: 'hardLink'; readonly source: string });

interface Placed {
  readonly path: string;
  readonly missingParents: readonly string[];
  /** A file or link of an earlier archive is there and must be removed first, never written through. */
  readonly replaces: boolean;
}

export interface TreeLimits {
  readonly entries: number;
  readonly totalBytes: number;
}
export const DEFAULT_LIMITS: TreeLimits = { entries: 200_000, totalBytes: 16 * 1024 ** 3 };

/** Marks a complete version: written by us alone. */
export const COMPLETE_MARKER = '.complete';

interface Node {
  readonly type: 'directory' | 'file' | 'symlink';
  readonly archive: string;
  readonly target?: string;
}

const PREFIX = HOST_PATHS.installation.slice(1);
// An archive of a single component may leave out opt/kata: these are the names that Kata has below it.
const TOP_LEVEL = new Set([
  'bin',
  'lib',
  'libexec',
  'runtime-rs',
  'share',
  'VERSION',
  'versions.yaml',
]);
const SPECIAL_BITS = 0o7000;
const MODE_MASK = 0o755;
const MAX_LINK_HOPS = 40;

export class TreeModel {
  readonly #nodes = new Map<string, Node>();
  readonly #limits: TreeLimits;
  #entries = 0;
  #bytes = 0;

  constructor(limits: TreeLimits = DEFAULT_LIMITS) {
    this.#limits = limits;
  }

  /** Throws KATA_E_ARTIFACT_HOSTILE, which names archive and entry. */
  accept(archive: string, entry: ArchiveEntry): Placement {
    const refuse = (cause: string): never => {
      throw new KataError('KATA_E_ARTIFACT_HOSTILE', {
        archive,
        entry: printable(entry.name),
        cause,
      });
    };
    this.#count(entry, refuse);
    const path = placeOf(entry.name, entry.type === 'directory', refuse);
    if (path === '') return { kind: 'nothing' };
    const missingParents = this.#parents(path, archive, refuse);
    if (entry.type === 'directory') {
      const present = this.#nodes.get(path);
      if (present !== undefined && present.type !== 'directory')
        refuse('a file of that name is there');
      this.#nodes.set(path, { type: 'directory', archive });
      return { kind: 'directory', path, missingParents };
    }
    const present = this.#nodes.get(path);
    if (present?.type === 'directory') refuse('a directory of that name is there');
    if (present?.archive === archive) refuse('the archive holds it twice');
    const placed = { path, missingParents, replaces: present !== undefined };
    switch (entry.type) {
      case 'file':
      case 'contiguous-file':
        if ((entry.mode & SPECIAL_BITS) !== 0) refuse('it has the setuid, setgid or sticky bit');
        this.#nodes.set(path, { type: 'file', archive });
        return { kind: 'file', mode: entry.mode & MODE_MASK, ...placed };
      case 'symlink': {
        const target = linkTarget(path, entry.linkname ?? '', refuse);
        this.#nodes.set(path, { type: 'symlink', archive, target });
        return { kind: 'symlink', target, ...placed };
      }
      case 'link': {
        const source = placeOf(entry.linkname ?? '', false, refuse);
        if (source === path) refuse('it is a hard link to itself');
        if (this.#nodes.get(source)?.type !== 'file')
          refuse('it is a hard link to something that is not a file of the archive');
        this.#nodes.set(path, { type: 'file', archive });
        return { kind: 'hardLink', source, ...placed };
      }
      default:
        return refuse(`it is neither a file nor a directory nor a link (${entry.type})`);
    }
  }

  /** To be called when all archives are unpacked: a link may point to what a later archive brings. */
  checkLinks(): void {
    for (const [path, node] of this.#nodes) {
      if (node.type !== 'symlink') continue;
      const cause = this.#escape(path);
      if (cause !== undefined)
        throw new KataError('KATA_E_ARTIFACT_HOSTILE', {
          archive: node.archive,
          entry: path,
          cause,
        });
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  directories(): string[] {
    return [...this.#nodes].filter(([, node]) => node.type === 'directory').map(([path]) => path);
  }

  #count(entry: ArchiveEntry, refuse: (cause: string) => never): void {
    this.#entries += 1;
    this.#bytes += entry.sizeBytes;
    if (this.#entries > this.#limits.entries)
      refuse(`there are more than ${this.#limits.entries} entries`);
    if (!Number.isSafeInteger(entry.sizeBytes) || entry.sizeBytes < 0)
      refuse('its size is no number');
    if (this.#bytes > this.#limits.totalBytes)
      refuse(`there are more than ${this.#limits.totalBytes} bytes`);
  }

  /** Every parent must be a directory, never a link to one. Returns those that no entry has named yet. */
  #parents(path: string, archive: string, refuse: (cause: string) => never): string[] {
    const missing: string[] = [];
    for (let parent = posix.dirname(path); parent !== '.'; parent = posix.dirname(parent)) {
      const node = this.#nodes.get(parent);
      if (node === undefined) missing.unshift(parent);
      else if (node.type !== 'directory') refuse(`its parent ${parent} is not a directory`);
    }
    for (const parent of missing) this.#nodes.set(parent, { type: 'directory', archive });
    return missing;
  }

  /** Walks a link as the kernel does. Undefined when it stays inside, be it dangling. */
  #escape(link: string): string | undefined {
    let hops = 0;
    let at: string[] = posix.dirname(link) === '.' ? [] : posix.dirname(link).split('/');
    const todo = (this.#nodes.get(link)?.target ?? '').split('/');
    while (todo.length > 0) {
      const segment = todo.shift() ?? '';
      if (segment === '' || segment === '.') continue;
      if (segment === '..') {
        if (at.length === 0) return 'the link leads out of the version';
        at = at.slice(0, -1);
        continue;
      }
      const next = [...at, segment];
      const node = this.#nodes.get(next.join('/'));
      if (node?.type === 'symlink') {
        hops += 1;
        if (hops > MAX_LINK_HOPS) return 'the link leads in a circle';
        todo.unshift(...(node.target ?? '').split('/'));
      } else at = next;
    }
    return undefined;
  }
}

/** Where an entry goes, relative to the version; empty for the directories above it. */
function placeOf(name: string, isDirectory: boolean, refuse: (cause: string) => never): string {
  if (name.includes('\uFFFD')) refuse('its name is not UTF-8');
  if (/[\u0000-\u001f\u007f]/.test(name)) refuse('its name holds a control character');
  if (name.startsWith('/')) refuse('its path is absolute');
  const clean = (isDirectory ? name.replace(/\/+$/, '') : name).replace(/^(\.\/)+/, '');
  if (clean === '' || clean === '.') return isDirectory ? '' : refuse('it has no name');
  const segments = clean.split('/');
  if (segments.includes('..')) refuse('its path holds ".."');
  if (segments.includes('') || segments.includes('.')) refuse('its path is not clean');
  if (segments.some((segment) => Buffer.byteLength(segment) > 255)) refuse('its name is too long');
  if (isDirectory && (clean === 'opt' || clean === PREFIX)) return '';
  if (clean.startsWith(`${PREFIX}/`)) {
    const inner = clean.slice(PREFIX.length + 1);
    return inner === COMPLETE_MARKER ? refuse('the name is reserved') : inner;
  }
  if (TOP_LEVEL.has(segments[0] ?? '')) return clean;
  return refuse(`it lies outside ${PREFIX}`);
}

/** A target as it shall be written: absolute ones into /opt/kata become relative, since the tree is moved. */
function linkTarget(path: string, linkname: string, refuse: (cause: string) => never): string {
  if (linkname === '') refuse('the link has no target');
  if (linkname.includes('\uFFFD') || linkname.includes('\0')) refuse('its target is not UTF-8');
  if (!linkname.startsWith('/')) return linkname;
  const target = posix.normalize(linkname);
  if (!target.startsWith(`${HOST_PATHS.installation}/`))
    refuse(`it is a link to ${printable(linkname)}`);
  const inner = target.slice(HOST_PATHS.installation.length + 1);
  return posix.relative(posix.dirname(path), inner);
}

/** A hostile name must not reach a terminal or a status message as it is. */
function printable(name: string): string {
  const text = JSON.stringify(name)
    .slice(1, -1)
    // What JSON leaves as it is: DEL, C1, and what turns the direction of a line.
    .replaceAll(
      /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
