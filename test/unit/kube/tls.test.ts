import { once } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTransport, type Transport } from '../../../src/kube/transport.ts';
import { selfSigned, type Identity } from './certificate.ts';
import { kubeConfigFor } from './scriptedServer.ts';

describe('Transport over TLS', () => {
  let directory: string;
  let caFile: string;
  let server: Server;
  let transport: Transport;
  let connections: number;
  const first = selfSigned('first');
  const signal = AbortSignal.timeout(10_000);

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kube-tls-'));
    caFile = join(directory, 'ca.crt');
    await trust(first);
    connections = 0;
    server = createServer({ cert: first.certificate, key: first.key }, (_, response) => {
      response.end('{"ok":true}');
    });
    server.on('secureConnection', () => {
      connections += 1;
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    transport = createTransport(kubeConfigFor({ server: `https://127.0.0.1:${port}`, caFile }), {
      credentialsRefreshMs: 20,
    });
  });

  afterEach(async () => {
    await transport.close();
    server.close();
    server.closeAllConnections();
    await rm(directory, { recursive: true });
  });

  /** As kubelet updates a mounted file: a new one takes the place of the old. */
  async function trust(...identities: Identity[]): Promise<void> {
    await writeFile(`${caFile}.new`, identities.map(({ certificate }) => certificate).join(''));
    await rename(`${caFile}.new`, caFile);
  }

  const ask = async (): Promise<unknown> =>
    transport.request({ method: 'GET', path: '/version', signal });

  async function afterRefresh(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 40));
  }

  it('shares one handshake among requests', async () => {
    for (let index = 0; index < 10; index++) await ask();
    expect(connections).toBeLessThanOrEqual(2);
  });

  it('follows a rotation of the CA while it runs', async () => {
    await ask();
    const second = selfSigned('second');
    await trust(first, second);
    await afterRefresh();
    server.setSecureContext({ cert: second.certificate, key: second.key });
    server.closeIdleConnections();
    expect(await ask()).toEqual({ ok: true });
  });

  it('makes new connections when the CA changes: the old ones were trusted for another reason', async () => {
    await ask();
    const before = connections;
    await trust(first, selfSigned('second'));
    await afterRefresh();
    await ask();
    expect(connections).toBe(before + 1);
  });

  it('comes back by itself when the server changes its certificate before the CA file does', async () => {
    await ask();
    const second = selfSigned('second');
    server.setSecureContext({ cert: second.certificate, key: second.key });
    await trust(second);
    await afterRefresh();
    expect(await ask()).toEqual({ ok: true });
  });

  it('does not talk to a server that it has no reason to trust', async () => {
    await trust(selfSigned('stranger'));
    await afterRefresh();
    await expect(ask()).rejects.toMatchObject({
      status: 0,
      reason: 'ConnectionFailed',
      retryable: true,
    });
  });

  it('goes on with what it knows when the CA file is missing for a moment', async () => {
    await ask();
    await rm(caFile);
    await afterRefresh();
    expect(await ask()).toEqual({ ok: true });
  });
});
