/** Takes one event of a watch stream into a store. Owns what an event may look like; keeps nothing itself. */
import { apiErrorFromStatus, isRecord } from './errors.ts';
import { invalidAnswer, isKubeObject } from './shapes.ts';
import type { Store } from './store.ts';

/**
 * Returns the resourceVersion from which the next watch may begin, if the event gives one. Throws ApiError for an
 * ERROR event and for what is no event.
 */
export function takeWatchEvent<T>(
  store: Store<T>,
  path: string,
  event: unknown,
): string | undefined {
  const { type, object } = isRecord(event) ? event : {};
  if (type === 'ERROR') throw apiErrorFromStatus(path, object);
  if (type === 'BOOKMARK') return versionOf(object);
  if (isKubeObject(object) && type === 'DELETED') store.remove(object);
  else if (isKubeObject(object) && (type === 'ADDED' || type === 'MODIFIED')) store.put(object);
  else throw invalidAnswer('WATCH', path, `the stream holds an event of type ${String(type)}`);
  return versionOf(object);
}

function versionOf(object: unknown): string | undefined {
  const metadata = isRecord(object) ? object['metadata'] : undefined;
  const version = isRecord(metadata) ? metadata['resourceVersion'] : undefined;
  return typeof version === 'string' && version !== '' ? version : undefined;
}
