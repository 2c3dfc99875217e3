/**
 * A real API server for one test file: etcd and kube-apiserver on loopback, in a directory of their own.
 * Owns both processes and ends them by their handles. No controller manager and no kubelet run here.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run, type Completed } from './run.ts';

const START_TIMEOUT_MS = 60_000;

export interface ApiServer {
  /** https://127.0.0.1:PORT */
  readonly url: string;
  /** Bearer token of a cluster administrator. */
  readonly token: string;
  /** File of certificates to trust. */
  readonly caFile: string;
  /** File for KUBECONFIG. */
  readonly kubeconfig: string;
  /** Milliseconds from the first process to ready. */
  readonly startMs: number;
  /** Runs kubectl to its end; a failing exit code is returned, not thrown. */
  kubectl(args: readonly string[], stdin?: string): Promise<Completed>;
  stop(): Promise<void>;
}

/** Path of a binary in the cache. Throws when it is missing, with the command that builds it. */
export function binary(name: string): string {
  const cache = process.env['KATA_OPERATOR_CACHE'] ?? join(import.meta.dirname, '../../../.cache');
  const path = join(cache, 'bin', name);
  if (!existsSync(path))
    throw new Error(`${path} is missing: build it with "node e2e/main.ts build"`);
  return path;
}

/** Throws when a binary is missing or the server is not ready after a minute; the log is in the message. */
export async function startApiServer(): Promise<ApiServer> {
  const binaries = {
    etcd: binary('etcd'),
    server: binary('kube-apiserver'),
    kubectl: binary('kubectl'),
  };
  const directory = await mkdtemp(join(tmpdir(), 'kata-operator-api-'));
  const processes: ChildProcess[] = [];
  const stop = async (): Promise<void> => {
    for (const child of processes.toReversed()) await end(child);
    await rm(directory, { recursive: true, force: true });
  };
  const started = Date.now();
  try {
    const [client, peer, port] = [await freePort(), await freePort(), await freePort()];
    const token = randomBytes(16).toString('hex');
    await writeCredentials(directory, token, port);
    processes.push(await launch(binaries.etcd, etcdArguments(directory, client, peer), directory));
    processes.push(
      await launch(binaries.server, serverArguments(directory, client, port), directory),
    );
    const kubeconfig = join(directory, 'kubeconfig');
    const kubectl = (args: readonly string[], stdin?: string): Promise<Completed> =>
      run(binaries.kubectl, ['--kubeconfig', kubeconfig, ...args], stdin);
    await waitUntilReady(kubectl, processes, directory);
    return {
      url: `https://127.0.0.1:${String(port)}`,
      token,
      caFile: join(directory, 'apiserver.crt'),
      kubeconfig,
      startMs: Date.now() - started,
      kubectl,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function etcdArguments(directory: string, client: number, peer: number): string[] {
  const clientUrl = `http://127.0.0.1:${String(client)}`;
  const peerUrl = `http://127.0.0.1:${String(peer)}`;
  return [
    `--data-dir=${join(directory, 'etcd')}`,
    `--listen-client-urls=${clientUrl}`,
    `--advertise-client-urls=${clientUrl}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=default=${peerUrl}`,
    '--unsafe-no-fsync',
    '--log-level=error',
  ];
}

function serverArguments(directory: string, etcd: number, port: number): string[] {
  const key = join(directory, 'service-account.key');
  return [
    `--etcd-servers=http://127.0.0.1:${String(etcd)}`,
    '--bind-address=127.0.0.1',
    `--secure-port=${String(port)}`,
    // The certificate it makes here names 127.0.0.1 and carries its own issuer.
    `--cert-dir=${directory}`,
    `--token-auth-file=${join(directory, 'tokens.csv')}`,
    '--authorization-mode=Node,RBAC',
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${key}`,
    `--service-account-signing-key-file=${key}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    '--profiling=false',
  ];
}

async function writeCredentials(directory: string, token: string, port: number): Promise<void> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const write = (name: string, text: string | Buffer): Promise<void> =>
    writeFile(join(directory, name), text, { mode: 0o600 });
  await write('service-account.key', privateKey.export({ type: 'pkcs1', format: 'pem' }));
  await write('tokens.csv', `${token},test-admin,test-admin,system:masters\n`);
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    clusters: [
      {
        name: 'test',
        cluster: {
          server: `https://127.0.0.1:${String(port)}`,
          'certificate-authority': join(directory, 'apiserver.crt'),
        },
      },
    ],
    users: [{ name: 'test', user: { token } }],
  };
  await write('kubeconfig', JSON.stringify(kubeconfig));
}

async function launch(
  path: string,
  args: readonly string[],
  directory: string,
): Promise<ChildProcess> {
  const log = await open(join(directory, 'log'), 'a');
  try {
    const child = spawn(path, args, { cwd: directory, stdio: ['ignore', log.fd, log.fd] });
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => process.off('exit', kill));
    return child;
  } finally {
    await log.close();
  }
}

async function waitUntilReady(
  kubectl: ApiServer['kubectl'],
  processes: readonly ChildProcess[],
  directory: string,
): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    if (existsSync(join(directory, 'apiserver.crt'))) {
      const ready = await kubectl(['get', '--raw', '/readyz', '--request-timeout=2s']);
      if (ready.code === 0) return;
    }
    const ended = processes.some((child) => child.exitCode !== null || child.signalCode !== null);
    if (ended || Date.now() > deadline) {
      const log = await readFile(join(directory, 'log'), 'utf8');
      throw new Error(`the API server did not start:\n${log.slice(-4000)}`);
    }
    await sleep(150);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  // Nothing here is worth a graceful end that lasts: the directory goes away with it.
  const late = setTimeout(() => child.kill('SIGKILL'), 2000);
  await exited;
  clearTimeout(late);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
