/**
 * manifests/install.yaml: the chart with its default values, for those who do not use Helm.
 * Owns what differs from the chart: the release namespace is in it, and nothing speaks of Helm.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { loadAll } from 'js-yaml';
import { generatedBy, yaml } from './generated.ts';

export const INSTALL_MANIFEST = 'manifests/install.yaml';
export const INSTALL_NAMESPACE = 'kata-operator';

// Without a cluster Helm assumes the version that it was linked with, which may be any.
export const ASSUMED_KUBERNETES = '1.36.0';

/** The text of manifests/install.yaml. Rejects when the chart does not render. */
export async function installManifest(helm: string, chart: string): Promise<string> {
  const { stdout } = await promisify(execFile)(
    helm,
    [
      'template',
      'kata-operator',
      chart,
      `--namespace=${INSTALL_NAMESPACE}`,
      `--kube-version=${ASSUMED_KUBERNETES}`,
      '--no-hooks',
      '--skip-tests',
    ],
    { maxBuffer: 16 * 1024 * 1024, timeout: 60_000 },
  );
  const documents = [releaseNamespace(), ...loadAll(stdout).filter((one) => one !== null)];
  return (
    generatedBy('charts/kata-operator') +
    documents.map((document) => `---\n${yaml(withoutHelm(document))}`).join('')
  );
}

function releaseNamespace(): unknown {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name: INSTALL_NAMESPACE,
      labels: { 'pod-security.kubernetes.io/enforce': 'restricted' },
    },
  };
}

/** Removes the labels and annotations that mean something to Helm only, wherever they are. */
function withoutHelm(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutHelm);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value)
    .filter(([key, of]) => !key.startsWith('helm.sh/') && !isHelmLabel(key, of))
    .map(([key, of]): [string, unknown] => [key, withoutHelm(of)])
    .filter(([key, of]) => key !== 'annotations' || JSON.stringify(of) !== '{}');
  return Object.fromEntries(kept);
}

function isHelmLabel(key: string, value: unknown): boolean {
  return key === 'app.kubernetes.io/managed-by' && value === 'Helm';
}
