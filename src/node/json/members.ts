/**
 * Adding, replacing and removing one member of an object in the text of a JSON document, in the style of its
 * neighbours: indentation, line ends, spaces.
 *
 * A member that was added at the end and is removed again leaves the very text that was there. Pure; says nothing
 * about what the members mean.
 */
import type { JsonMember, JsonObject } from './scan.ts';

/** What we write: no numbers, so that none can lose digits. */
export type JsonInput =
  string | boolean | readonly JsonInput[] | { readonly [key: string]: JsonInput };

/** How the members of an object are set apart. */
export interface Style {
  /** Before a member: line end and indentation, or the space after a comma. */
  readonly lead: string;
  /** What lead is made of, when members have a line each. */
  readonly lines?: { readonly end: string; readonly indent: string; readonly unit: string };
  /** Between key and value. */
  readonly colon: string;
}

/** Style of an object that has members. `unit` is one step of indentation. */
export function styleOf(text: string, object: JsonObject, unit: string): Style | undefined {
  const last = object.members.at(-1);
  if (last === undefined) return undefined;
  const before = object.members.at(-2);
  const gap = text.slice(before?.value.end ?? object.start + 1, last.keyStart);
  const lead = before === undefined ? gap : gap.slice(gap.indexOf(',') + 1);
  const newline = lead.lastIndexOf('\n');
  const colon = colonOf(text, last);
  if (newline === -1)
    return { lead: lead === '' && before === undefined ? colon.slice(1) : lead, colon };
  return linesStyle(lead[newline - 1] === '\r' ? '\r\n' : '\n', lead.slice(newline + 1), unit);
}

/** A line for each member. */
export function linesStyle(end: string, indent: string, unit: string): Style {
  return { lead: end + indent, lines: { end, indent, unit }, colon: ': ' };
}

/** Style of the members of an object that is itself a member in this style. */
export function nested({ lines, ...flat }: Style): Style {
  return lines === undefined ? flat : linesStyle(lines.end, lines.indent + lines.unit, lines.unit);
}

/** Puts the member at the end of the object. */
export function addMember(
  text: string,
  object: JsonObject,
  key: string,
  value: JsonInput,
  style: Style,
): string {
  const entry = `${JSON.stringify(key)}${style.colon}${render(value, style)}`;
  const last = object.members.at(-1);
  if (last !== undefined)
    return replace(text, last.value.end, last.value.end, `,${style.lead}${entry}`);
  // What an empty object holds (spaces) stays in front, so that it is there when the member has gone.
  const inside = style.lines === undefined ? entry : `${style.lead}${entry}${closing(style.lines)}`;
  return replace(text, object.end - 1, object.end - 1, inside);
}

/** Puts another value in the place of the one that is there. */
export function replaceValue(
  text: string,
  { value }: JsonMember,
  input: JsonInput,
  style: Style,
): string {
  return replace(text, value.start, value.end, render(input, style));
}

/** Takes the member out, with its comma and its line. */
export function removeMember(text: string, object: JsonObject, key: string): string {
  const index = object.members.findIndex((member) => member.key === key);
  const member = object.members[index];
  if (member === undefined) return text;
  const before = object.members[index - 1];
  const after = object.members[index + 1];
  if (before !== undefined) return replace(text, before.value.end, member.value.end, '');
  if (after !== undefined) return replace(text, member.keyStart, after.keyStart, '');
  const inside = text.slice(object.start + 1, member.keyStart);
  // With a line of its own it brought the same line end twice; without, those in front were there before it.
  const ownEnd = /^\r?\n/.exec(text.slice(member.value.end, object.end))?.[0];
  const kept = ownEnd === undefined ? inside : inside.replace(new RegExp(`${ownEnd}[ \t]*$`), '');
  return replace(text, object.start + 1, object.end - 1, kept);
}

/** The value as text, its first line without indentation. */
export function render(value: JsonInput, style: Style): string {
  if (typeof value === 'string') return JSON.stringify(value.toWellFormed());
  if (typeof value === 'boolean') return String(value);
  const inner = nested(style);
  const [open, close] = isList(value) ? (['[', ']'] as const) : (['{', '}'] as const);
  const entries = isList(value)
    ? value.map((item) => render(item, inner))
    : Object.entries(value).map(
        ([key, item]) => `${JSON.stringify(key)}${inner.colon}${render(item, inner)}`,
      );
  if (entries.length === 0) return open + close;
  if (style.lines === undefined) return open + entries.join(`,${style.lead}`) + close;
  return `${open}${inner.lead}${entries.join(`,${inner.lead}`)}${style.lead}${close}`;
}

function isList(value: JsonInput): value is readonly JsonInput[] {
  return Array.isArray(value);
}

function closing({ end, indent, unit }: NonNullable<Style['lines']>): string {
  return end + indent.slice(0, Math.max(0, indent.length - unit.length));
}

/** Colon and the space after it. */
function colonOf(text: string, { keyStart, value }: JsonMember): string {
  const space = /:[ \t]*$/.exec(text.slice(keyStart, value.start))?.[0];
  return space ?? ': ';
}

function replace(text: string, start: number, end: number, by: string): string {
  return text.slice(0, start) + by + text.slice(end);
}
