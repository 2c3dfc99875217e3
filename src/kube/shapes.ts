/** The least that every answer of the API server must be, checked once where it comes in. */
import { ApiError, isRecord } from './errors.ts';
import type { KubeObject } from './resource.ts';
import type { Method } from './transport.ts';

/** An answer that must be one object. Throws ApiError. */
export function asObject(answer: unknown, method: Method, path: string): KubeObject {
  if (isKubeObject(answer)) return answer;
  throw invalidAnswer(method, path, 'the answer is not an object');
}

export function isKubeObject(value: unknown): value is KubeObject {
  if (!isRecord(value)) return false;
  const metadata = value['metadata'];
  return isRecord(metadata) && typeof metadata['name'] === 'string';
}

/** An answer that must be a list, or a page of one. Throws ApiError. */
export function asList(
  answer: unknown,
  path: string,
): { items: KubeObject[]; resourceVersion: string; continueToken: string | undefined } {
  const metadata = isRecord(answer) ? answer['metadata'] : undefined;
  // A Go server marshals an empty slice of a custom resource list as [] and of a typed one as null.
  const items = isRecord(answer) ? (answer['items'] ?? []) : undefined;
  if (!isRecord(metadata) || !Array.isArray(items) || !items.every(isKubeObject)) {
    throw invalidAnswer('GET', path, 'the answer is not a list');
  }
  const { resourceVersion, continue: token } = metadata;
  return {
    items,
    resourceVersion: typeof resourceVersion === 'string' ? resourceVersion : '',
    continueToken: typeof token === 'string' && token !== '' ? token : undefined,
  };
}

/** The server, or somebody in between, said what no API server says. */
export function invalidAnswer(method: string, path: string, message: string): ApiError {
  return new ApiError({ method, path, status: 0, reason: 'InvalidAnswer', message });
}
