/**
 * The managed block: the one region of an administrator's file that is ours, between two marker comments.
 *
 * Works on text only; every character outside the block stays as it is. The opening marker carries the
 * hash of the block, so that a change by hand is seen, and whether a line end had to be added before it,
 * so that taking the block out gives the very bytes that were there before.
 */
import { createHash } from 'node:crypto';
import { KataError } from '../../errors.ts';

export interface Block {
  /** Offsets into the text: from the opening marker to after the line end of the closing one. */
  readonly start: number;
  readonly end: number;
  /** What is between the markers, line ends included. */
  readonly body: string;
  /** Line end that was added to the administrator's last line, because it had none. */
  readonly added: LineEnd | 'none';
}

type LineEnd = 'lf' | 'crlf';
const LINE_END: Readonly<Record<LineEnd | 'none', string>> = { lf: '\n', crlf: '\r\n', none: '' };

/** Finds the block of this owner. Throws KATA_E_CONFIG_EDITED when its markers or its body were changed. */
export function findBlock(text: string, owner: string, file: string): Block | undefined {
  const openings = markerLines(text, `# >>> kata-operator ${owner} >>>`);
  const closings = markerLines(text, closingMarker(owner));
  const opening = openings[0];
  const closing = closings[0];
  if (opening === undefined && closing === undefined) return undefined;
  if (
    opening === undefined ||
    closing === undefined ||
    openings.length > 1 ||
    closings.length > 1 ||
    closing.start < opening.end
  ) {
    throw edited(file, 'its markers are not one pair any more');
  }
  const attributes = /^ sha256=([0-9a-f]{64}) added=(none|lf|crlf)$/.exec(opening.rest);
  const body = text.slice(opening.end, closing.start);
  const added = attributes?.[2] as Block['added'] | undefined;
  if (added === undefined || closing.rest !== '' || attributes?.[1] !== hashOf(body, added)) {
    throw edited(file, 'the lines between the markers are not the ones that were written');
  }
  return { start: opening.start, end: closing.end, body, added };
}

/** Puts the block at the end, or in the place of the one that is there. `lines` without line ends. */
export function withBlock(
  text: string,
  owner: string,
  lines: readonly string[],
  file: string,
): string {
  const present = findBlock(text, owner, file);
  const lineEnd = lineEndOf(present === undefined ? text : text.slice(present.start, present.end));
  const complete = text === '' || text === '\uFEFF' || text.endsWith('\n');
  const added = present === undefined ? (complete ? 'none' : lineEnd) : present.added;
  const end = LINE_END[lineEnd];
  const body = lines.map((line) => line + end).join('');
  const block = `# >>> kata-operator ${owner} >>> sha256=${hashOf(body, added)} added=${added}${end}${body}${closingMarker(owner)}${end}`;
  return present === undefined
    ? text + LINE_END[added] + block
    : text.slice(0, present.start) + block + text.slice(present.end);
}

/**
 * Takes the block out. The line end that was added goes too, unless somebody has written below the block since.
 * `replacement` stays in its place (a line of ours that others depend on by now).
 */
export function withoutBlock(text: string, owner: string, file: string, replacement = ''): string {
  const block = findBlock(text, owner, file);
  if (block === undefined) return text;
  const above = text.slice(0, block.start);
  const rest = text.slice(block.end);
  const last = block.added !== 'none' && rest === '' && replacement === '';
  // By now the line may end in another way, or there may be none above.
  return (last ? above.replace(/\r?\n$/, '') : above) + replacement + rest;
}

/** Line end of the last complete line; LF when there is none. */
export function lineEndOf(text: string): LineEnd {
  const last = text.lastIndexOf('\n');
  return last > 0 && text[last - 1] === '\r' ? 'crlf' : 'lf';
}

function closingMarker(owner: string): string {
  return `# <<< kata-operator ${owner} <<<`;
}

/** Of the lines, not of how they end: a file that was converted as a whole still has the block that was written. */
function hashOf(body: string, added: Block['added']): string {
  return createHash('sha256')
    .update(`${added}\n${body.replaceAll('\r\n', '\n')}`)
    .digest('hex');
}

function edited(file: string, cause: string): KataError {
  return new KataError('KATA_E_CONFIG_EDITED', { file, cause });
}

/** Lines that begin with the marker (and then end, or go on after a space), with their offsets and what follows it. */
function markerLines(text: string, marker: string): { start: number; end: number; rest: string }[] {
  const found: { start: number; end: number; rest: string }[] = [];
  for (let start = text.indexOf(marker); start !== -1; start = text.indexOf(marker, start + 1)) {
    const atLineStart =
      start === 0 || text[start - 1] === '\n' || (start === 1 && text[0] === '\uFEFF');
    const newline = text.indexOf('\n', start);
    const end = newline === -1 ? text.length : newline + 1;
    const rest = text.slice(start + marker.length, end).replace(/\r?\n$/, '');
    if (atLineStart && (rest === '' || rest.startsWith(' '))) found.push({ start, end, rest });
  }
  return found;
}
