/**
 * One HTTP request: through a proxy where one is set, with certificates of one's own where they are given,
 * following redirects to http and https alone, a bounded number of times.
 *
 * It never shows credentials, and gives them to no other host than the one whose URL held them.
 */
import { request as requestHttp, Agent as HttpAgent, type IncomingMessage } from 'node:http';
import { request as requestHttps, Agent as HttpsAgent } from 'node:https';
import { causeOf } from '../../errors.ts';

/** Without it, the variables HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment count, in either case. */
export interface Proxy {
  readonly url: string;
  /** Hosts reached without it, separated by commas. */
  readonly noProxy?: string;
}

/** Worth another try: the network or the server was at fault. */
export class Retryable extends Error {
  /** As the server wishes it. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options?: ErrorOptions & { retryAfterMs?: number | undefined }) {
    super(message, options);
    this.retryAfterMs = options?.retryAfterMs;
  }
}

export interface RequestOptions {
  readonly headers: Readonly<Record<string, string>>;
  readonly maxRedirects: number;
  readonly proxy?: Proxy | undefined;
  readonly signal: AbortSignal;
}

/** Answers with status 200 or 206, or throws: Retryable, or what will not change. */
export async function get(url: string, options: RequestOptions): Promise<IncomingMessage> {
  let target = new URL(url);
  for (let redirects = 0; redirects <= options.maxRedirects; redirects += 1) {
    if (!['http:', 'https:'].includes(target.protocol))
      throw new Error('it is not an http or https URL');
    const response = await answer(target, options);
    const status = response.statusCode ?? 0;
    if (status === 200 || status === 206) return response;
    response.destroy();
    const { location } = response.headers;
    if (status < 300 || status >= 400 || location === undefined) throw refusal(response);
    target = new URL(location, withoutCredentials(target));
  }
  throw new Error('it redirects too often');
}

function answer(target: URL, options: RequestOptions): Promise<IncomingMessage> {
  const { headers, proxy, signal } = options;
  const proxyEnv = proxy === undefined ? environmentProxy() : proxyVariables(proxy);
  const isSecure = target.protocol === 'https:';
  const agent = isSecure ? new HttpsAgent({ proxyEnv }) : new HttpAgent({ proxyEnv });
  const send = isSecure ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const request = send(withoutCredentials(target), {
      agent,
      signal,
      headers: { ...headers, ...authorization(target) },
    });
    request.once('response', resolve);
    request.once('error', (error) => {
      reject(new Retryable(withoutSecrets(causeOf(error)), { cause: error }));
    });
    request.end();
  });
}

function refusal({ statusCode = 0, headers }: IncomingMessage): Error {
  const message = `HTTP status ${statusCode}`;
  if (statusCode < 500 && statusCode !== 429 && statusCode !== 408) return new Error(message);
  const seconds = Number(headers['retry-after']);
  return new Retryable(message, { retryAfterMs: seconds > 0 ? seconds * 1000 : undefined });
}

/** Of a text that may quote the URL of a proxy. */
function withoutSecrets(text: string): string {
  return text.replaceAll(/\/\/[^\s/@]*@/g, '//');
}

function withoutCredentials(target: URL): URL {
  const address = new URL(target);
  address.username = '';
  address.password = '';
  return address;
}

function authorization(target: URL): Record<string, string> {
  if (target.username === '' && target.password === '') return {};
  const pair = `${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`;
  return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

function environmentProxy(): Record<string, string | undefined> {
  const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'];
  return Object.fromEntries(
    [...names, ...names.map((name) => name.toLowerCase())].map((name) => [name, process.env[name]]),
  );
}

function proxyVariables({ url, noProxy }: Proxy): Record<string, string | undefined> {
  return { HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY: noProxy };
}
