import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Pki } from '../../../e2e/cluster/pki.ts';
import { output, pipe, run, runAny } from '../../../e2e/cluster/process.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'harness-'));
});
afterEach(() => rm(directory, { recursive: true }));

describe('a program run by the harness', () => {
  test('that fails leaves its name, its exit code and its last words in the error', async () => {
    const failing = run(['sh', '-c', 'echo on its way; echo broken >&2; exit 7']);
    await expect(failing).rejects.toThrow(/sh -c .*exit code 7\n.*broken\n.*on its way/s);
  });

  test('that hangs is ended at the deadline', async () => {
    const startedAt = performance.now();
    await expect(run(['sleep', '60'], { timeoutMs: 100 })).rejects.toThrow(/deadline 0.1 s/);
    expect(performance.now() - startedAt).toBeLessThan(5000);
  });

  test('gets and returns bytes as they are', async () => {
    const bytes = Buffer.from([0, 255, 10, 128, 13, 10]);
    const { stdout } = await runAny(['cat'], { input: bytes });
    expect(stdout.equals(bytes)).toBe(true);
  });

  test('that does not read its input is no error', async () => {
    expect((await run(['true'], { input: 'x'.repeat(1_000_000) })).exitCode).toBe(0);
  });

  test.each([
    ['first', ['sh', '-c', 'echo half; exit 3'], ['cat'], /exit code 3/],
    ['second', ['echo', 'whole'], ['sh', '-c', 'exit 4'], /exit code 4/],
  ] as const)('in a pipe fails the pipe: the %s', async (_, from, to, message) => {
    await expect(pipe(from, to)).rejects.toThrow(message);
  });
});

describe('the certificates of a cluster', () => {
  test('are signed by its authority, name their host, and stay when it is opened again', async () => {
    const identity = {
      file: 'server',
      commonName: 'system:node:a',
      organization: 'system:nodes',
      names: ['DNS:a', 'IP:10.210.0.21'],
    };
    const pki = await Pki.open(directory);
    await pki.issue(identity);
    const certificate = join(directory, 'server.crt');
    await run(['openssl', 'verify', '-CAfile', join(directory, 'ca.crt'), certificate]);
    const shown = await output(['openssl', 'x509', '-noout', '-text', '-in', certificate]);
    expect(shown).toMatch(/Subject: O ?= ?system:nodes, CN ?= ?system:node:a/);
    expect(shown).toContain('DNS:a, IP Address:10.210.0.21');

    const before = await readFile(certificate);
    const reopened = await Pki.open(directory);
    await reopened.issue(identity);
    expect((await readFile(certificate)).equals(before)).toBe(true);
  });

  test('are issued again for a host that got another address', async () => {
    const pki = await Pki.open(directory);
    const host = { file: 'server', commonName: 'system:node:a' };
    await pki.issue({ ...host, names: ['IP:10.210.0.21'] });
    await pki.issue({ ...host, names: ['IP:10.210.0.22'] });
    const certificate = join(directory, 'server.crt');
    const shown = await output(['openssl', 'x509', '-noout', '-text', '-in', certificate]);
    expect(shown).toContain('IP Address:10.210.0.22');
  });
});
