/** What the main thread and the one that writes files say to each other. Types alone. */

export interface ThreadData {
  /** Directory of the tree, as this process finds it. */
  readonly root: string;
  /** Contents on their way, in slots of `slotBytes` each; the last one is the thread's own. */
  readonly shared: SharedArrayBuffer;
  readonly slotBytes: number;
}

/** Tells that a file is still what it was when it was written. */
export interface Fingerprint {
  readonly sizeBytes: number;
  /** Nanoseconds, decimal: more than a number holds. */
  readonly mtimeNs: string;
  readonly mode: number;
}

/** `path` is relative to the tree; `at` and `from` are as this process finds them. */
export type Command =
  | { readonly kind: 'directory' | 'remove'; readonly path: string }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string }
  | { readonly kind: 'hardLink'; readonly path: string; readonly source: string }
  /** Followed by `write`s and an `end`. `twin`: perhaps the same content, to be linked if it is. */
  | (FileCommand & {
      readonly kind: 'open';
      readonly sizeBytes: number;
      readonly twin?: Fingerprint & { readonly at: string };
    })
  | { readonly kind: 'write'; readonly slot: number; readonly length: number }
  | { readonly kind: 'end' }
  | (FileCommand & {
      readonly kind: 'copy';
      readonly from: string;
      readonly sizeBytes: number;
      readonly sha256: string;
    })
  | (FileCommand &
      Fingerprint & { readonly kind: 'link'; readonly from: string; readonly sha256: string })
  | { readonly kind: 'drain' };

export interface FileCommand {
  readonly id: number;
  readonly path: string;
  readonly mode: number;
}

export interface WrittenFile {
  readonly id: number;
  readonly sizeBytes: number;
  readonly mtimeNs: string;
  readonly sha256: string;
}

export type Reply =
  | { readonly kind: 'free'; readonly slot: number }
  | {
      readonly kind: 'drained';
      readonly written: readonly WrittenFile[];
      readonly bytesWritten: number;
    }
  | {
      readonly kind: 'failed';
      readonly message: string;
      readonly code?: string;
      readonly syscall?: string;
      /** The file that was read, when that is at fault. */
      readonly from?: string;
    };
