/**
 * Which CRI socket the kubelet of this host uses: the engine behind it is the one that counts.
 *
 * Reads the kubelet's arguments and its configuration files, nothing else of it.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Host } from '../host/host.ts';
import { flagValue, processesNamed } from '../host/process.ts';
import { EMBEDDED_KUBELETS } from './distributions/presets.ts';

/** Path of the socket on the host; undefined when no kubelet runs or it does not say. */
export async function kubeletSocket(host: Host): Promise<string | undefined> {
  const [kubelet] = await processesNamed(host, new Set(['kubelet', 'hyperkube']));
  if (kubelet === undefined) return embeddedSocket(host);
  const { argv } = kubelet;
  const configured = await configuredEndpoint(
    host,
    flagValue(argv, '--config'),
    flagValue(argv, '--config-dir'),
  );
  // The kubelet lets its flags win over its files.
  return socketPath(flagValue(argv, '--container-runtime-endpoint') ?? configured);
}

/** k3s and MicroK8s have their kubelet inside another program. */
async function embeddedSocket(host: Host): Promise<string | undefined> {
  const [program] = await processesNamed(host, new Set(EMBEDDED_KUBELETS.keys()));
  if (program === undefined) return undefined;
  const asked = socketPath(flagValue(program.argv, '--container-runtime-endpoint'));
  return asked ?? EMBEDDED_KUBELETS.get(basename(program.exe));
}

async function configuredEndpoint(
  host: Host,
  file: string | undefined,
  directory: string | undefined,
): Promise<string | undefined> {
  const files = file === undefined ? [] : [file];
  if (directory !== undefined) {
    const names = await readdir(host.at(directory)).catch(() => []);
    files.push(
      ...names
        .filter((name) => name.endsWith('.conf'))
        .toSorted()
        .map((name) => join(directory, name)),
    );
  }
  let endpoint: string | undefined;
  for (const path of files) {
    const content = await readFile(host.at(path), 'utf8').catch(() => '');
    endpoint = endpointIn(content) ?? endpoint;
  }
  return endpoint;
}

/** `containerRuntimeEndpoint` of a KubeletConfiguration, YAML or JSON: a scalar at the top level. */
export function endpointIn(content: string): string | undefined {
  const match =
    /^\s*"?containerRuntimeEndpoint"?\s*:\s*(?:"([^"]*)"|'([^']*)'|([^\s#,}"']+))/m.exec(content);
  const value = match?.[1] ?? match?.[2] ?? match?.[3];
  return value === '' ? undefined : value;
}

/** `unix:///run/x.sock`, `unix:/run/x.sock` and the plain path; undefined for anything else. */
export function socketPath(endpoint: string | undefined): string | undefined {
  const path = endpoint?.replace(/^unix:(\/\/)?/, '');
  return path?.startsWith('/') === true ? path : undefined;
}
