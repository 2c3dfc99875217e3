/**
 * One HTTP request: through a proxy where one is set, with certificates of one's own where they are given,
 * following redirects to http and https alone, a bounded number of times.
 *
 * It never shows credentials, and gives them to no other host than those that they are for.
 */
import { request as requestHttp, Agent as HttpAgent, type IncomingMessage } from 'node:http';
import { request as requestHttps, Agent as HttpsAgent } from 'node:https';
import { causeOf } from '../../errors.ts';
import type { Access } from './access.ts';

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

/** An answer that another try will not change. */
export class Refused extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

export interface RequestOptions {
  readonly headers: Readonly<Record<string, string>>;
  readonly maxRedirects: number;
  readonly proxy?: Proxy | undefined;
  readonly access?: Access | undefined;
  readonly signal: AbortSignal;
}

/** Without another set of trusted certificates, or another server, these stay as they are. */
const CERTIFICATE_PROBLEMS: ReadonlySet<string> = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'CERT_SIGNATURE_FAILURE',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

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
    if (status < 300 || status >= 400 || location === undefined)
      throw refusal(response, target, options.access);
    target = new URL(location, withoutCredentials(target));
  }
  throw new Error('it redirects too often');
}

function answer(target: URL, options: RequestOptions): Promise<IncomingMessage> {
  const { headers, proxy, access, signal } = options;
  const proxyEnv = proxy === undefined ? environmentProxy() : proxyVariables(proxy);
  const isSecure = target.protocol === 'https:';
  const ca = access?.ca === undefined ? {} : { ca: [...access.ca] };
  const agent = isSecure ? new HttpsAgent({ proxyEnv, ...ca }) : new HttpAgent({ proxyEnv });
  const send = isSecure ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const request = send(withoutCredentials(target), {
      agent,
      signal,
      headers: { ...headers, ...authorization(target, access) },
    });
    request.once('response', resolve);
    request.once('error', (error) => {
      reject(connectionError(error));
    });
    request.end();
  });
}

function connectionError(error: Error): Error {
  const message = withoutSecrets(causeOf(error));
  return 'code' in error && CERTIFICATE_PROBLEMS.has(String(error.code))
    ? new Error(`its certificate is not trusted: ${message}`, { cause: error })
    : new Retryable(message, { cause: error });
}

function refusal(
  { statusCode = 0, headers }: IncomingMessage,
  target: URL,
  access: Access | undefined,
): Error {
  const message = `HTTP status ${statusCode}`;
  if (statusCode === 401 || statusCode === 403)
    return new Refused(`${message} ${whatWasSent(target, access)}`, statusCode);
  if (statusCode < 500 && statusCode !== 429 && statusCode !== 408)
    return new Refused(message, statusCode);
  const seconds = Number(headers['retry-after']);
  return new Retryable(message, { retryAfterMs: seconds > 0 ? seconds * 1000 : undefined });
}

function whatWasSent(target: URL, access: Access | undefined): string {
  if (target.username !== '' || access?.credentials?.isFor(target) === true)
    return `from ${target.host}, with credentials`;
  const { credentials } = access ?? {};
  if (credentials === undefined) return `from ${target.host}, without credentials`;
  return credentials.hosts.includes(target.host)
    ? `from ${target.host}, without credentials: they are sent over https alone`
    : `from ${target.host}, without credentials: they are for ${credentials.hosts.join(', ')}`;
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

function authorization(target: URL, access: Access | undefined): Record<string, string> {
  if (target.username !== '' || target.password !== '') {
    const pair = `${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`;
    return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
  }
  return access?.credentials?.isFor(target) === true
    ? { authorization: access.credentials.header() }
    : {};
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
