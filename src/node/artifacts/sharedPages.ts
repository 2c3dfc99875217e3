/** Memory that threads share and that begins at a page, as direct writes need it. */

// As far as it is used here: the types of Node.js leave it to those of browsers.
declare const WebAssembly: {
  readonly Memory: new (pages: { initial: number; maximum: number; shared: true }) => {
    readonly buffer: unknown;
  };
};

const PAGE_BYTES = 64 * 1024;

/** `sizeBytes` is a multiple of 64 KiB. A plain SharedArrayBuffer begins anywhere; that of WebAssembly does not. */
export function sharedPages(sizeBytes: number): SharedArrayBuffer {
  const pages = sizeBytes / PAGE_BYTES;
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  if (!(buffer instanceof SharedArrayBuffer)) throw new Error('WebAssembly shares no memory');
  return buffer;
}
