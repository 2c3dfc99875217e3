/** A list, page by page, also when reading it takes longer than the server keeps history. */
import { abortReason } from './clock.ts';
import { isExpired } from './errors.ts';
import { apiVersionOf, resourcePath, type Resource } from './resource.ts';
import { asList } from './shapes.ts';
import type { Query, Transport } from './transport.ts';
import type { ListOptions, Page } from './verbs.ts';

const DEFAULT_PAGE_SIZE = 500;

/** Throws ApiError, or the reason of the signal. */
export async function* pagesOf(
  transport: Transport,
  resource: Resource,
  options: ListOptions,
  signal: AbortSignal,
): AsyncGenerator<Page> {
  const { namespace, labelSelector, fieldSelector } = options;
  const path = resourcePath(resource, { namespace });
  const type = { apiVersion: apiVersionOf(resource), kind: resource.kind };
  let limit: number | undefined = options.limit ?? DEFAULT_PAGE_SIZE;
  let continueToken: string | undefined;
  let restarted = false;
  do {
    const query: Query = { labelSelector, fieldSelector, limit, continue: continueToken };
    let answer: unknown;
    try {
      answer = await transport.request({ method: 'GET', path, query, signal });
    } catch (thrown) {
      if (continueToken === undefined || !isExpired(thrown)) throw thrown;
      // Reading the pages took longer than the server keeps history. In one piece it cannot expire.
      limit = undefined;
      continueToken = undefined;
      restarted = true;
      continue;
    }
    const list = asList(answer, path);
    const items = list.items.map((item) => ({ ...item, ...type }));
    yield { items, resourceVersion: list.resourceVersion, restarted };
    restarted = false;
    continueToken = list.continueToken;
  } while (continueToken !== undefined || restarted);
  if (signal.aborted) throw abortReason(signal);
}
