/**
 * What a reflector knows, by key, and what its handler was told. The two can differ: a handler that throws
 * has not heard, and hears again. Owns the order of changes and the comparison by uid; does no I/O.
 */
import { objectKey, type KubeObject } from './resource.ts';

export interface Change<T> {
  readonly key: string;
  /** Missing when the object is new. */
  readonly before?: T;
  /** Missing when the object is gone. */
  readonly after?: T;
}

/** An object with what is needed to tell versions and incarnations apart. */
interface Entry<T> {
  readonly value: T;
  readonly uid: string;
  readonly resourceVersion: string;
}

export interface StoreHooks<T> {
  transform(raw: KubeObject): T;
  onChange(change: Change<T>): void;
  /** A transform or handler threw. */
  onFault(key: string, thrown: unknown): void;
}

export class Store<T> {
  readonly #hooks: StoreHooks<T>;
  #entries = new Map<string, Entry<T>>();
  /** Keys whose handler lags: what it was told last. */
  readonly #behind = new Map<string, Entry<T> | undefined>();

  constructor(hooks: StoreHooks<T>) {
    this.#hooks = hooks;
  }

  get(key: string): T | undefined {
    return this.#entries.get(key)?.value;
  }

  values(): T[] {
    return Array.from(this.#entries.values(), (entry) => entry.value);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** True when a handler has still to be told something. */
  get hasUndelivered(): boolean {
    return this.#behind.size > 0;
  }

  /** An object was added or modified. */
  put(raw: KubeObject): void {
    const key = objectKey(raw.metadata);
    const known = this.#entries.get(key);
    const entry = this.#entryOf(key, raw, known);
    if (entry === undefined || entry === known) return;
    this.#entries.set(key, entry);
    this.#deliver(key, known, entry);
  }

  /** An object was deleted. */
  remove(raw: KubeObject): void {
    const key = objectKey(raw.metadata);
    const known = this.#entries.get(key);
    if (known === undefined) return;
    this.#entries.delete(key);
    this.#deliver(key, known, undefined);
  }

  /** Collects a complete list, page by page, in the form in which it is kept. */
  beginReplace(): Replacement {
    const next = new Map<string, Entry<T>>();
    return {
      add: (raw) => {
        const key = objectKey(raw.metadata);
        const entry = this.#entryOf(key, raw, this.#entries.get(key));
        if (entry !== undefined) next.set(key, entry);
      },
      clear: () => {
        next.clear();
      },
      commit: () => {
        this.#replace(next);
      },
    };
  }

  /** Tells handlers again what they failed to take. */
  redeliver(): void {
    for (const [key, told] of [...this.#behind]) this.#deliver(key, told, this.#entries.get(key));
  }

  #replace(next: Map<string, Entry<T>>): void {
    const previous = this.#entries;
    // The whole cache first: a handler that looks around must see one moment, not half of two.
    this.#entries = next;
    for (const [key, known] of previous) {
      if (!next.has(key)) this.#deliver(key, known, undefined);
    }
    for (const [key, entry] of next) {
      const known = previous.get(key);
      if (known !== entry) this.#deliver(key, known, entry);
    }
  }

  /** `known` itself when it is the same version of the same object, or when the new one cannot be read. */
  #entryOf(key: string, raw: KubeObject, known: Entry<T> | undefined): Entry<T> | undefined {
    const uid = raw.metadata.uid ?? '';
    const resourceVersion = raw.metadata.resourceVersion ?? '';
    if (known?.uid === uid && known.resourceVersion === resourceVersion) return known;
    try {
      return { value: this.#hooks.transform(raw), uid, resourceVersion };
    } catch (thrown) {
      this.#hooks.onFault(key, thrown);
      return known;
    }
  }

  #deliver(key: string, before: Entry<T> | undefined, after: Entry<T> | undefined): void {
    const told = this.#behind.has(key) ? this.#behind.get(key) : before;
    this.#behind.delete(key);
    if (told === after) return;
    try {
      if (told !== undefined && after !== undefined && told.uid !== after.uid) {
        // Deleted and made anew while we did not look: two objects, two changes.
        this.#hooks.onChange({ key, before: told.value });
        this.#tell(key, undefined, after);
      } else {
        this.#tell(key, told, after);
      }
    } catch (thrown) {
      if (!this.#behind.has(key)) this.#behind.set(key, told);
      this.#hooks.onFault(key, thrown);
    }
  }

  #tell(key: string, before: Entry<T> | undefined, after: Entry<T> | undefined): void {
    try {
      this.#hooks.onChange({
        key,
        ...(before === undefined ? {} : { before: before.value }),
        ...(after === undefined ? {} : { after: after.value }),
      });
    } catch (thrown) {
      this.#behind.set(key, before);
      throw thrown;
    }
  }
}

/** A complete list on its way to take the place of what was known. */
export interface Replacement {
  add(raw: KubeObject): void;
  /** Forgets what was added: the list is begun anew. */
  clear(): void;
  commit(): void;
}
