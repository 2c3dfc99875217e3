/**
 * Bytes of a file to text and nothing lost: a byte order mark stays, bytes that are not UTF-8 are an error and
 * never a replacement character, so that the text encoded again gives the same bytes.
 */
export const BYTE_ORDER_MARK = '\uFEFF';

const NEWLINE = 0x0a;

/** `refuse` gets the 1-based number of the first line that is not UTF-8. */
export function decodeUtf8(bytes: Uint8Array, refuse: (line: number) => never): string {
  return decode(bytes) ?? refuse(firstBadLine(bytes));
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** No character of several bytes holds a line feed, so each line can be judged alone. */
function firstBadLine(bytes: Uint8Array): number {
  let line = 1;
  for (let start = 0; ; line += 1) {
    const end = bytes.indexOf(NEWLINE, start);
    if (end === -1 || decode(bytes.subarray(start, end)) === undefined) return line;
    start = end + 1;
  }
}

/** 1-based number of the line that holds the offset. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at !== -1 && at < offset; at = text.indexOf('\n', at + 1))
    line += 1;
  return line;
}
